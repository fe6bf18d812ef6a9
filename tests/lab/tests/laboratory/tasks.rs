//! Live tasks: only the app's own are counted, exactly, at rest.

use std::sync::mpsc;

use axum::{Router, body::Body, http::Request, routing};
use lab::{Broken, Protocol, Scene, require};
use tokio::task::JoinSet;

use crate::{get, holds, misbehaving, post};

fn counted(scene: &Scene, expected: usize, when: &str) -> Result<(), Broken> {
    let tasks = scene.app_tasks();
    require(tasks == expected, format!("{when}: expected {expected} tasks of the app, counted {tasks}"))
}

#[test]
fn connections_and_streams_are_not_the_apps() {
    holds(async |lab, ()| {
        for protocol in Protocol::BOTH {
            let scene = lab.scene(protocol.to_string());
            let server = scene.serve(misbehaving::never_answers());
            let mut clients = Vec::new();
            for _ in 0..3 {
                let client = server.connect("client", protocol).await;
                clients.push((client.begin(get("/")), client));
            }
            let (feed, body) = scene.feed("upload");
            let uploader = server.connect("uploader", protocol).await;
            let uploading = uploader.begin(post("/", body));
            feed.data("some");
            scene.settle().await;
            counted(&scene, 0, "with open connections")?;
            for (waiting, client) in clients {
                client.leave();
                drop(waiting);
            }
            uploading.cancel();
            scene.settle().await;
            counted(&scene, 0, "after they left")?;
        }
        Ok(())
    });
}

#[test]
fn a_spawned_task_is_the_apps_until_it_ends() {
    holds(async |lab, ()| {
        for protocol in Protocol::BOTH {
            let scene = lab.scene(protocol.to_string());
            let (release, gate) = tokio::sync::watch::channel(false);
            let leaks = move || {
                let mut gate = gate.clone();
                async move {
                    tokio::spawn(async move { drop(gate.wait_for(|open| *open).await) });
                    "answered"
                }
            };
            let app = Router::new().route("/", routing::get(leaks));
            let client = scene.serve(app).connect("client", protocol).await;
            client.send(get("/")).await?.read().await;
            counted(&scene, 1, "with a spawned task")?;
            client.send(get("/")).await?.read().await;
            client.leave();
            scene.settle().await;
            counted(&scene, 2, "after the client left")?;
            release.send_replace(true);
            scene.settle().await;
            counted(&scene, 0, "after they ended")?;
        }
        Ok(())
    });
}

#[test]
fn a_join_set_takes_its_tasks_with_it() {
    holds(async |lab, ()| {
        for protocol in Protocol::BOTH {
            let scene = lab.scene(protocol.to_string());
            let owns = async || {
                let mut set = JoinSet::new();
                for _ in 0..4 {
                    set.spawn(std::future::pending::<()>());
                }
                set.join_next().await;
            };
            let app = Router::new().route("/", routing::get(owns));
            let client = scene.serve(app).connect("client", protocol).await;
            let pending = client.begin(get("/"));
            scene.settle().await;
            counted(&scene, 4, "while the handler waits")?;
            pending.cancel();
            scene.settle().await;
            counted(&scene, 0, "after the request was taken back")?;
        }
        Ok(())
    });
}

#[test]
fn tasks_that_were_there_before_the_scene_are_not_counted() {
    holds(async |lab, ()| {
        tokio::spawn(std::future::pending::<()>());
        let scene = lab.scene("after a leak");
        counted(&scene, 0, "at the beginning")?;
        tokio::spawn(std::future::pending::<()>());
        counted(&scene, 1, "with a leak of its own")
    });
}

#[test]
fn blocking_tasks_are_not_counted() {
    holds(async |lab, ()| {
        let scene = lab.scene("spawn_blocking");
        let (release, gate) = mpsc::channel::<()>();
        let (tell, started) = tokio::sync::oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let _ = tell.send(());
            let _ = gate.recv();
        });
        started.await.map_err(|_| Broken::because("it never started"))?;
        let counted = counted(&scene, 0, "while it runs");
        drop(release);
        counted
    });
}

#[test]
fn a_body_that_the_handler_moved_to_a_task_lives_as_long_as_the_task() {
    holds(async |lab, ()| {
        for protocol in Protocol::BOTH {
            let scene = lab.scene(protocol.to_string());
            let moves = async |request: Request<Body>| {
                tokio::spawn(async move {
                    let _body = request.into_body();
                    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
                });
                "accepted"
            };
            let client = scene.serve(Router::new().route("/", routing::post(moves))).connect("client", protocol).await;
            client.send(post("/", Body::from("an upload"))).await?.read().await;
            counted(&scene, 1, "after the answer")?;
            tokio::time::sleep(std::time::Duration::from_secs(6)).await;
            counted(&scene, 0, "after the task")?;
        }
        Ok(())
    });
}
