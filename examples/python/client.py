"""A client of Sluice over gRPC: waits for a lease, keeps it alive while it works, gives it back.

    pip install -r requirements.txt
    python client.py [--address 127.0.0.1:9090] [--group slots] [--work 3]

The protocol is compiled at the first run (into gen/, from ../../proto).
"""

import argparse
import sys
import threading
import time
import uuid
from pathlib import Path

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status

HERE = Path(__file__).parent
LEASE = 10.0


def protocol():
    """The generated modules; made where they are missing."""
    gen = HERE / "gen"
    if not (gen / "sluice" / "v1" / "admission_pb2_grpc.py").exists():
        import grpc_tools
        from grpc_tools import protoc

        gen.mkdir(exist_ok=True)
        proto = (HERE / ".." / ".." / "proto").resolve()
        google = Path(grpc_tools.__file__).parent / "_proto"
        args = ["protoc", f"-I{proto}", f"-I{google}", f"--python_out={gen}", f"--grpc_python_out={gen}", "sluice/v1/admission.proto"]
        if protoc.main(args) != 0:
            raise SystemExit("the protocol does not compile")
    sys.path.insert(0, str(gen))
    from sluice.v1 import admission_pb2, admission_pb2_grpc

    return admission_pb2, admission_pb2_grpc


pb, pb_grpc = protocol()


class Lease:
    """A permit that is renewed at each third of its life. `lost` is set once it is over: stop the work then."""

    def __init__(self, stub, permit):
        self.permit = permit
        self.lost = threading.Event()
        self._stub = stub
        self._done = threading.Event()
        self._ends = time.monotonic() + LEASE
        threading.Thread(target=self._keep, daemon=True).start()

    def _keep(self):
        while not self._done.wait(LEASE / 3):
            sent = time.monotonic()
            try:
                self._stub.Renew(pb.RenewRequest(permit=self.permit.permit), timeout=max(0.1, self._ends - sent))
                self._ends = sent + LEASE
                print("renewed", flush=True)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.ABORTED or time.monotonic() >= self._ends:
                    self.lost.set()
                    return

    def release(self):
        self._done.set()
        answer = self._stub.Release(pb.ReleaseRequest(permit=self.permit.permit, outcome=pb.OUTCOME_USED), timeout=5)
        print(f"released: {answer.ended}", flush=True)


def acquire(stub, group):
    """Waits up to 30 s. A call that was cut off comes back to the same place, or gets the same permit, by its request id."""
    ask = pb.AcquireRequest(group=group, ttl=Duration(seconds=30), lease=Duration(seconds=int(LEASE)), holder="examples/python", request_id=str(uuid.uuid4()))
    for tries in range(1, 6):
        try:
            return Lease(stub, stub.Acquire(ask))
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE or refusal(error) or tries == 5:
                raise
            time.sleep(0.2 * tries)
        except KeyboardInterrupt:
            # Gone for good: without this the place is kept for 10 s, for a caller who was cut off.
            stub.Release(pb.ReleaseRequest(group=group, request_id=ask.request_id), timeout=5)
            raise SystemExit(130) from None


def refusal(error):
    """What Sluice says about a failed call; None: it did not come from Sluice."""
    status = rpc_status.from_call(error)
    found = {}
    for detail in status.details if status else ():
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo):
            if detail.Is(kind.DESCRIPTOR):
                found[kind] = kind()
                detail.Unpack(found[kind])
    info = found.get(error_details_pb2.ErrorInfo)
    if info is None or info.domain != "sluice.dev":
        return None
    retry = found.get(error_details_pb2.RetryInfo)
    again = f" Again in {retry.retry_delay.ToTimedelta().total_seconds()} s." if retry else ""
    return f"{info.reason}: {error.details()}{again}"


def main():
    options = argparse.ArgumentParser(description="Holds a lease for a while.")
    options.add_argument("--address", default="127.0.0.1:9090")
    options.add_argument("--group", default="slots")
    options.add_argument("--work", type=float, default=3.0, help="seconds")
    args = options.parse_args()
    # A held call is silent for long: find out when the other side is gone.
    keepalive = [("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 10_000)]
    with grpc.insecure_channel(args.address, options=keepalive) as channel:
        try:
            lease = acquire(pb_grpc.AdmissionServiceStub(channel), args.group)
        except grpc.RpcError as error:
            raise SystemExit(refusal(error) or f"{error.code().name}: {error.details()}") from None
        permit = lease.permit
        print(f"admitted after {permit.waited.ToTimedelta()}: fence {permit.fence}, lease {permit.lease.ToTimedelta()}", flush=True)
        try:
            if lease.lost.wait(args.work):  # The work; look at `lost` between its steps.
                raise SystemExit("the lease is lost")
        finally:
            lease.release()


if __name__ == "__main__":
    main()
