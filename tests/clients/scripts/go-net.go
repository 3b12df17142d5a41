package main

import (
	"encoding/json"
	"io"
	"log"
	"os"

	"golang.org/x/net/websocket"
)

func say(value any) {
	if err := json.NewEncoder(os.Stdout).Encode(value); err != nil {
		log.Fatal(err)
	}
}

func main() {
	url, offer, texts := os.Args[1], os.Args[2], os.Args[3:]
	// The package demands an Origin; this one is its documentation's.
	socket, err := websocket.Dial(url, offer, "http://localhost/")
	if err != nil {
		log.Fatal(err)
	}
	selected := ""
	if protocols := socket.Config().Protocol; len(protocols) > 0 && protocols[0] != offer {
		selected = protocols[0]
	}
	say(selected)
	var answer string
	for _, text := range texts {
		if err := websocket.Message.Send(socket, text); err != nil {
			log.Fatal(err)
		}
		if err := websocket.Message.Receive(socket, &answer); err != nil {
			log.Fatal(err)
		}
		say(answer)
	}
	if len(texts) > 0 {
		if err := socket.WriteClose(1000); err != nil {
			log.Fatal(err)
		}
	}
	// It reports the server's close frame as the end of the stream and keeps the code to itself.
	if err := websocket.Message.Receive(socket, &answer); err != io.EOF {
		log.Fatal(err)
	}
	say(nil)
}
