// A small program for tests of the lab: it serves, asks, looks up names and writes files from inside a pod, so that a
// test can show what really passes between pods and what does not. It needs no shell.
//
//	probe serve ADDRESS...          serve HTTP (its host name) and echo UDP on every address, until SIGTERM
//	probe get URL [TIMEOUT]         ask once, print the body; exit 1 when there is no answer
//	probe udp ADDRESS [TIMEOUT]     send one datagram, wait for its echo; exit 1 when there is none
//	probe lookup NAME [TIMEOUT]     print the addresses of a name
//	probe write PATH TEXT           write a file and sync it
//	probe read PATH                 print a file
//	probe sleep                     do nothing until SIGTERM
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return fmt.Errorf("say what to do: serve, get, udp, lookup, write, read or sleep")
	}
	verb, rest := arguments[0], arguments[1:]
	switch {
	case verb == "serve" && len(rest) > 0:
		return serve(rest)
	case verb == "get" && len(rest) > 0:
		return get(rest[0], timeout(rest[1:]))
	case verb == "udp" && len(rest) > 0:
		return udp(rest[0], timeout(rest[1:]))
	case verb == "lookup" && len(rest) > 0:
		return lookup(rest[0], timeout(rest[1:]))
	case verb == "write" && len(rest) == 2:
		return write(rest[0], rest[1])
	case verb == "read" && len(rest) == 1:
		content, err := os.ReadFile(rest[0])
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(content)
		return err
	case verb == "sleep":
		waitForEnd()
		return nil
	}
	return fmt.Errorf("%q does not take these arguments: %q", verb, rest)
}

func timeout(rest []string) time.Duration {
	if len(rest) > 0 {
		if parsed, err := time.ParseDuration(rest[0]); err == nil {
			return parsed
		}
	}
	return 3 * time.Second
}

func waitForEnd() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	<-signals
}

func serve(addresses []string) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		w.Header().Set("X-Client-Address", host)
		fmt.Fprintln(w, name)
	})
	failed := make(chan error, len(addresses)*2)
	for _, address := range addresses {
		packets, err := net.ListenPacket("udp", address)
		if err != nil {
			return err
		}
		go echo(packets)
		go func() { failed <- http.ListenAndServe(address, handler) }()
	}
	ended := make(chan struct{})
	go func() { waitForEnd(); close(ended) }()
	select {
	case err := <-failed:
		return err
	case <-ended:
		return nil
	}
}

func echo(packets net.PacketConn) {
	buffer := make([]byte, 2048)
	for {
		n, from, err := packets.ReadFrom(buffer)
		if err != nil {
			return
		}
		_, _ = packets.WriteTo(buffer[:n], from)
	}
}

func get(url string, limit time.Duration) error {
	client := http.Client{Timeout: limit, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(os.Stdout, io.LimitReader(response.Body, 1<<20)); err != nil {
		return err
	}
	if response.StatusCode >= 400 {
		return fmt.Errorf("%s answered %s", url, response.Status)
	}
	return nil
}

func udp(address string, limit time.Duration) error {
	connection, err := net.Dial("udp", address)
	if err != nil {
		return err
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	if _, err := connection.Write([]byte("ping")); err != nil {
		return err
	}
	buffer := make([]byte, 16)
	n, err := connection.Read(buffer)
	if err != nil {
		return err
	}
	fmt.Println(string(buffer[:n]))
	return nil
}

func lookup(name string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	if err != nil {
		return err
	}
	fmt.Println(strings.Join(addresses, "\n"))
	return nil
}

func write(path, text string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := file.WriteString(text); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	return file.Close()
}
