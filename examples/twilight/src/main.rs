//! Shards of twilight that wait at `sluice gateway-queue`: its `Queue` over HTTP, as in twilight's own example. `cargo run -- URL SHARDS` asks for so many
//! shards at once and prints each that may identify; a bot hands `HttpQueue` to `twilight_gateway::ConfigBuilder::queue`.

use http_body_util::Empty;
use hyper::{body::Bytes, Uri};
use hyper_util::{
    client::legacy::{connect::HttpConnector, Client},
    rt::TokioExecutor,
};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use twilight_gateway_queue::Queue;

/// Between two tries at a queue that cannot be reached.
const RETRY: Duration = Duration::from_millis(100);

/// Asks the queue at an address such as `http://127.0.0.1:8000`.
#[derive(Clone, Debug)]
struct HttpQueue {
    client: Client<HttpConnector, Empty<Bytes>>,
    url: String,
}

impl HttpQueue {
    fn new(url: String) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, url }
    }
}

impl Queue for HttpQueue {
    fn enqueue(&self, shard: u32) -> oneshot::Receiver<()> {
        let (mut go, may_go) = oneshot::channel();
        let queue = self.clone();
        let uri: Uri = format!("{}/?shard={shard}", queue.url).parse().expect("a URL");
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    // The shard does not wait any more: its connection ends, and its place is free.
                    _ = go.closed() => return,
                    answer = queue.client.get(uri.clone()) => match answer {
                        Ok(_) => { let _ = go.send(()); return }
                        Err(error) => { eprintln!("shard {shard} queues again: {error}"); tokio::time::sleep(RETRY).await }
                    }
                }
            }
        });
        may_go
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or_else(|| "http://127.0.0.1:8000".into());
    let shards: u32 = args.next().and_then(|text| text.parse().ok()).unwrap_or(4);
    let start = Instant::now();
    let queue = HttpQueue::new(url);
    let waiting: Vec<_> = (0..shards)
        .map(|shard| {
            let may_go = queue.enqueue(shard);
            tokio::spawn(async move {
                if may_go.await.is_ok() {
                    println!("shard {shard} may identify after {:.1} s", start.elapsed().as_secs_f32());
                }
            })
        })
        .collect();
    for shard in waiting {
        let _ = shard.await;
    }
}
