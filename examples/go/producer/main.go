// Publishes readings with typed values, in batches over one gRPC stream, from the protos alone.
//
// Many batches may be on their way. When the connection breaks, those that were not acknowledged are sent again as they
// were: the service knows each record by the producer's id and the record's sequence number, and stores it once.
//
//	go run ./producer -grpc 127.0.0.1:50051 -stream readings -count 1000
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "ratsvc/rat/v1"
)

const (
	batchRecords = 100 // in one request: a request costs the service more than a record
	window       = 64  // requests on their way
	attempts     = 50  // in a row that bring nothing further
)

func main() {
	address := flag.String("grpc", env("RATSVC_GRPC", "127.0.0.1:50051"), "the service's gRPC address")
	stream := flag.String("stream", "readings", "the stream to publish to")
	count := flag.Int("count", 1000, "how many readings")
	id := flag.String("id", fmt.Sprintf("go-%d", os.Getpid()), "the producer's id")
	flag.Parse()

	connection, err := grpc.NewClient(*address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	producer := pb.NewProducerServiceClient(connection)

	requests := batches(*stream, *id, *count)
	var last *pb.PublishResponse
	for done, failures := 0, 0; done < len(requests); {
		acks, err := publish(producer, requests[done:], &last)
		if err == nil {
			break
		}
		if failures++; acks > 0 {
			failures = 0
		}
		if failures == attempts {
			log.Fatal(err)
		}
		done += acks
		log.Printf("%d of %d batches acknowledged, then: %v", done, len(requests), err)
		time.Sleep(100 * time.Millisecond)
	}
	if last != nil {
		fmt.Printf("%d readings stored; the last is %s-%d\n", *count, last.Epoch, last.LastOffset)
	}
}

// publish sends requests and returns how many were acknowledged, in order, before the call ended.
func publish(producer pb.ProducerServiceClient, requests []*pb.PublishRequest, last **pb.PublishResponse) (int, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	call, err := producer.PublishStream(ctx)
	if err != nil {
		return 0, err
	}
	room := make(chan struct{}, window)
	go func() {
		for _, request := range requests {
			select {
			case room <- struct{}{}:
			case <-ctx.Done():
				return
			}
			if call.Send(request) != nil {
				return // Recv says why
			}
		}
		call.CloseSend()
	}()
	for acks := 0; ; acks++ {
		response, err := call.Recv()
		if errors.Is(err, io.EOF) && acks == len(requests) {
			return acks, nil
		}
		if err != nil {
			return acks, err
		}
		if refused := response.GetError(); refused != nil {
			log.Fatalf("request %d was refused: %s", response.Request, refused.Message)
		}
		*last = response.GetAck()
		<-room
	}
}

// batches makes all requests. A new producer numbers its records from 1 and leaves no number out; a new epoch shuts out
// whoever used the id before.
func batches(stream, id string, count int) []*pb.PublishRequest {
	epoch := uint64(time.Now().UnixMilli())
	var made []*pb.PublishRequest
	for first := 0; first < count; first += batchRecords {
		request := &pb.PublishRequest{
			Stream:   stream,
			Producer: &pb.ProducerRef{Id: id, Epoch: epoch, Sequence: uint64(first) + 1},
		}
		for n := first; n < min(first+batchRecords, count); n++ {
			request.Records = append(request.Records, &pb.Record{Key: fmt.Sprintf("sensor-%d", n%4), Value: reading(n)})
		}
		made = append(made, request)
	}
	return made
}

// reading is a map value: {"n": 1, "celsius": 20.5, "taken": <a time>, "raw": <bytes>}.
func reading(n int) *pb.DataValue {
	entries := map[string]*pb.DataValue{
		"n":       {Kind: &pb.DataValue_IntValue{IntValue: int64(n)}},
		"celsius": {Kind: &pb.DataValue_DoubleValue{DoubleValue: 20 + float64(n%10)/4}},
		"taken":   {Kind: &pb.DataValue_TimestampValue{TimestampValue: timestamppb.Now()}},
		"raw":     {Kind: &pb.DataValue_BytesValue{BytesValue: []byte{0, byte(n)}}},
	}
	return &pb.DataValue{Kind: &pb.DataValue_MapValue{MapValue: &pb.MapValue{Entries: entries}}}
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
