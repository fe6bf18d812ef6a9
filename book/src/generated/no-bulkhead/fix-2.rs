impl Door {
    /// Gets a place: an order may wait for it, a report may not.
    async fn place(&self, class: Class) -> Option<Place> {
        if self.places.admit(class) {
            return Some(Place { door: self.clone(), class });
        }
        // ①
        if class == Class::Report {
            return None;
        }
        let _waiting = Waiting::begin(self, class);
        let place = async {
            loop {
                let freed = self.freed.notified();
                if self.places.admit(class) {
                    return Place { door: self.clone(), class };
                }
                freed.await;
            }
        };
        timeout(self.wait, place).await.ok()
    }
}
