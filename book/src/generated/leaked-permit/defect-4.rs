async fn stock(State(desk): State<Desk>, Path(item): Path<String>, headers: HeaderMap) -> Result<Response, Response> {
    let who = headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or("somebody");
    let mut lease = desk.check_out(who.to_owned()).await?;
    // ②
    let first = lease.query(format!("stock {item}")).await.map_err(unavailable)?;
    let rows = stream::try_unfold((lease, Some(first)), |(mut lease, fetched)| async move {
        let page = match fetched {
            Some(page) => page,
            None => lease.query("more".to_owned()).await?,
        };
        if page.is_empty() {
            // ③
            lease.release();
            return Ok(None);
        }
        let text = page.iter().map(|row| format!("{row}\n")).collect::<String>();
        Ok::<_, BoxError>(Some((text, (lease, None))))
    });
    Ok(Body::from_stream(rows).into_response())
}
