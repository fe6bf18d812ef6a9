/// A place in use.
struct Lease {
    desk: Desk,
    place: Place<Connection>,
}
