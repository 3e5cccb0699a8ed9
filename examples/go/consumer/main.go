// Follows a stream as Server-Sent Events with net/http alone, and prints each record's cursor and data on a line.
//
// After any break it comes back with the last id it saw: the service goes on exactly behind it, or says with a gap what
// is missing. It ends when the stream was ended.
//
//	go run ./consumer -http http://127.0.0.1:8080 -stream readings -from earliest
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	silence = 40 * time.Second // over two heartbeats (15 s): then the connection is taken for dead
	maxLine = 4 << 20          // a record has at most 1 MiB; as JSON it may be longer
)

var errEnded = errors.New("the stream was ended")

// reader is a place in a stream.
type reader struct {
	url    string
	cursor string        // the last id: records up to here were printed
	retry  time.Duration // how long to wait before coming back, as the service last said
}

func main() {
	base := flag.String("http", "http://"+env("RATSVC_HTTP", "127.0.0.1:8080"), "the service's HTTP address")
	stream := flag.String("stream", "readings", "the stream, or a pattern")
	from := flag.String("from", "earliest", "where to start: latest, earliest, -N, a time or a cursor")
	flag.Parse()

	query := url.Values{"stream": {*stream}, "from": {*from}}
	r := &reader{url: *base + "/v1/subscribe?" + query.Encode(), retry: 2 * time.Second}
	for {
		err := r.read()
		if errors.Is(err, errEnded) {
			return
		}
		log.Printf("reading on from %q: %v", r.cursor, err)
		time.Sleep(time.Duration((0.5 + rand.Float64()/2) * float64(r.retry)))
	}
}

// read reads one response to its end, which always has an error as its reason.
func (r *reader) read() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, "GET", r.url, nil)
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Accept", "text/event-stream")
	if r.cursor != "" {
		request.Header.Set("Last-Event-ID", r.cursor) // wins over from=
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusNoContent:
		return errEnded // it was ended, and we have all of it
	case response.StatusCode >= 400 && response.StatusCode < 500 && response.StatusCode != http.StatusTooManyRequests:
		problem, _ := io.ReadAll(io.LimitReader(response.Body, 4096))
		log.Fatalf("refused: %s", problem)
	case response.StatusCode != http.StatusOK:
		return errors.New(response.Status)
	}

	dead := time.AfterFunc(silence, cancel)
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxLine)
	var id, event string
	var data []string
	for lines.Scan() {
		dead.Reset(silence)
		if lines.Text() == "" { // an empty line ends the block
			if err := r.took(id, event, data); err != nil {
				return err
			}
			id, event, data = "", "", nil
			continue
		}
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			id = value
		case "event":
			event = value
		case "data":
			data = append(data, value)
		case "retry":
			if ms, err := strconv.Atoi(value); err == nil {
				r.retry = time.Duration(ms) * time.Millisecond
			}
		}
	}
	return errors.Join(errors.New("the response ended"), lines.Err())
}

// took handles one whole block. One that broke off half way never comes here: its record will be sent again.
func (r *reader) took(id, event string, data []string) error {
	if id != "" {
		r.cursor = id
	}
	switch {
	case event == "end":
		return errEnded
	case event == "gap":
		log.Printf("missing: %s", strings.Join(data, "\n"))
	case event == "reconnect":
		return errors.New("the service asks to come back")
	case data != nil:
		fmt.Printf("%s\t%s\n", id, strings.Join(data, "\n"))
	}
	return nil
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
