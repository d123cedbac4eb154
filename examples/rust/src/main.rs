//! A client of Sluice over gRPC: waits for a lease, keeps it alive while it works, gives it back.
//!
//!     cargo run -- [ADDRESS] [GROUP] [SECONDS]      (http://127.0.0.1:9090 slots 3)

use std::time::{Duration, Instant};

use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;

mod sluice {
    tonic::include_proto!("sluice.v1");
}
use sluice::admission_service_client::AdmissionServiceClient;
use sluice::{AcquireRequest, AcquireResponse, Outcome, ReleaseRequest, RenewRequest};

type Client = AdmissionServiceClient<Channel>;

const LEASE: Duration = Duration::from_secs(10);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or("http://127.0.0.1:9090".into());
    let group = args.next().unwrap_or("slots".into());
    let work = Duration::from_secs_f64(args.next().unwrap_or("3".into()).parse()?);

    // A held call is silent for long: find out when the other side is gone.
    let channel = Endpoint::new(address)?
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10))
        .connect_lazy();
    let mut client = AdmissionServiceClient::new(channel);

    // Ctrl-C drops the call: the place is free again, at once without a request id.
    let asked = tokio::select! {
        permit = acquire(&mut client, &group) => permit,
        _ = tokio::signal::ctrl_c() => std::process::exit(130),
    };
    let permit = asked.map_err(|status| explain(&status))?;
    println!(
        "admitted after {:?}: fence {}, lease {:?}",
        permit.waited,
        permit.fence(),
        permit.lease
    );

    // The work runs beside the renewals, and ends with the lease.
    let worked = tokio::select! {
        () = tokio::time::sleep(work) => Ok(()),
        lost = keep(client.clone(), permit.permit.clone()) => Err(format!("the lease is lost: {}", explain(&lost))),
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    };
    let release = ReleaseRequest {
        permit: permit.permit,
        outcome: Outcome::Used.into(),
        ..Default::default()
    };
    let released = client
        .release(release)
        .await
        .map_err(|status| explain(&status))?;
    println!("released: {}", released.into_inner().ended);
    Ok(worked?)
}

/// Waits up to 30 s.
async fn acquire(client: &mut Client, group: &str) -> Result<AcquireResponse, Status> {
    let ask = AcquireRequest {
        group: group.into(),
        ttl: Some(prost_types::Duration {
            seconds: 30,
            nanos: 0,
        }),
        lease: Some(prost_types::Duration {
            seconds: LEASE.as_secs() as i64,
            nanos: 0,
        }),
        holder: "examples/rust".into(),
        ..Default::default()
    };
    client.acquire(ask).await.map(tonic::Response::into_inner)
}

/// Renews at each third of the lease; answers only when it is lost.
async fn keep(mut client: Client, permit: String) -> Status {
    let mut ends = Instant::now() + LEASE;
    loop {
        tokio::time::sleep(LEASE / 3).await;
        let sent = Instant::now();
        let mut renew = tonic::Request::new(RenewRequest {
            permit: permit.clone(),
            lease: None,
        });
        renew.set_timeout(ends.saturating_duration_since(sent));
        match client.renew(renew).await {
            Ok(_) => {
                ends = sent + LEASE;
                println!("renewed");
            }
            Err(status) if status.code() == Code::Aborted || Instant::now() >= ends => {
                return status
            }
            Err(_) => {}
        }
    }
}

/// What Sluice says about a failed call: the reason, a sentence, and when to come back.
fn explain(status: &Status) -> String {
    let details = status.get_error_details();
    let reason = details
        .error_info()
        .map_or(format!("{:?}", status.code()), |info| info.reason.clone());
    let again = details.retry_info().and_then(|retry| retry.retry_delay);
    let again = again.map_or(String::new(), |delay| format!(" Again in {delay:?}."));
    format!("{reason}: {}{again}", status.message())
}
