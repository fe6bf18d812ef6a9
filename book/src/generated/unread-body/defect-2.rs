impl Gate {
    /// Asks the store, and passes its answer on if it is a success.
    async fn relay(&self, question: Builder, body: Body) -> Response {
        let question = question.header(HOST, "store").body(body).expect("a path that has been parsed before");
        let asked = question.uri().clone();
        match self.store.ask(question).await {
            Ok((answer, connection)) if answer.status().is_success() => {
                self.store.keep(connection);
                return answer.map(Body::new);
            }
            Ok((answer, connection)) => {
                self.store.keep(connection);
                self.report(Incident::Failed(asked, answer));
            }
            Err(_) => {}
        }
        StatusCode::BAD_GATEWAY.into_response()
    }
