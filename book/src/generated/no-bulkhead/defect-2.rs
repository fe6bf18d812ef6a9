impl Door {
    /// Waits for a place, but not for longer than it may.
    async fn place(&self, class: Class) -> Option<Place> {
        // ②
        if self.places.admit(class) {
            return Some(Place { door: self.clone(), class });
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
