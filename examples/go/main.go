// A client of Sluice over gRPC: waits for a lease, keeps it alive while it works, gives it back.
//
//	go generate && go run . [-address 127.0.0.1:9090] [-group slots] [-work 3s]
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	sluice "sluice.dev/examples/go/gen/sluice/v1"
)

//go:generate npx --no-install buf generate ../../proto --template buf.gen.yaml --path ../../proto/sluice/v1/admission.proto

const lease = 10 * time.Second

func main() {
	address := flag.String("address", "127.0.0.1:9090", "of the server's gRPC listener")
	group := flag.String("group", "slots", "the group to ask")
	work := flag.Duration("work", 3*time.Second, "how long to pretend to work")
	flag.Parse()

	// Ctrl-C cancels the context.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	conn, err := grpc.NewClient(*address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		// A held call is silent for long: find out when the other side is gone.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	if err := hold(ctx, sluice.NewAdmissionServiceClient(conn), *group, *work); err != nil {
		log.Fatal(explain(err))
	}
}

// hold acquires, works while the lease is renewed, and releases.
func hold(ctx context.Context, client sluice.AdmissionServiceClient, group string, work time.Duration) error {
	permit, err := acquire(ctx, client, group)
	if err != nil {
		return err
	}
	fmt.Printf("admitted after %v: fence %d, lease %v\n", permit.Waited.AsDuration(), permit.GetFence(), permit.Lease.AsDuration())

	working, lost := context.WithCancelCause(ctx)
	go renew(working, lost, client, permit.Permit)
	select {
	case <-time.After(work): // The work; give it `working`, so that it stops when the lease is lost.
	case <-working.Done():
	}
	err = context.Cause(working)
	lost(nil)

	released, failed := client.Release(context.WithoutCancel(ctx), &sluice.ReleaseRequest{Permit: permit.Permit, Outcome: sluice.Outcome_OUTCOME_USED})
	if failed != nil {
		return errors.Join(err, failed)
	}
	fmt.Printf("released: %v\n", released.Ended)
	return err
}

// acquire waits up to 30 s. A call that was cut off comes back to the same place, or gets the same permit, by its request id.
func acquire(ctx context.Context, client sluice.AdmissionServiceClient, group string) (*sluice.AcquireResponse, error) {
	ask := &sluice.AcquireRequest{Group: group, Ttl: durationpb.New(30 * time.Second), Lease: durationpb.New(lease), Holder: "examples/go", RequestId: rand.Text()}
	for tries := 1; ; tries++ {
		permit, err := client.Acquire(ctx, ask)
		if ctx.Err() != nil {
			// Gone for good: without this the place is kept for 10 s, for a caller who was cut off.
			client.Release(context.WithoutCancel(ctx), &sluice.ReleaseRequest{Group: group, RequestId: ask.RequestId})
			return nil, ctx.Err()
		}
		if status.Code(err) != codes.Unavailable || refusal(err) != nil || tries == 5 {
			return permit, err
		}
		time.Sleep(time.Duration(tries) * 200 * time.Millisecond)
	}
}

// renew keeps the lease alive at each third of it, and says by `lost` when it is over.
func renew(ctx context.Context, lost context.CancelCauseFunc, client sluice.AdmissionServiceClient, permit string) {
	ends := time.Now().Add(lease)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(lease / 3):
		}
		sent := time.Now()
		call, stop := context.WithDeadline(ctx, ends)
		_, err := client.Renew(call, &sluice.RenewRequest{Permit: permit})
		stop()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			ends = sent.Add(lease)
			fmt.Println("renewed")
		case status.Code(err) == codes.Aborted || time.Now().After(ends):
			lost(fmt.Errorf("the lease is lost: %w", err))
			return
		}
	}
}

// refusal finds what Sluice says about a failed call; nil: it did not come from Sluice.
func refusal(err error) *errdetails.ErrorInfo {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.Domain == "sluice.dev" {
			return info
		}
	}
	return nil
}

func explain(err error) string {
	info := refusal(err)
	if info == nil {
		return err.Error()
	}
	said := fmt.Sprintf("%s: %s", info.Reason, status.Convert(err).Message())
	for _, detail := range status.Convert(err).Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			said += fmt.Sprintf(" Again in %v.", retry.RetryDelay.AsDuration())
		}
	}
	return said
}
