/// A place in use.
struct Lease {
    desk: Desk,
    place: Place<Connection>,
    /// Whether nothing is left in the connection.
    clean: bool,
}
