package main

import (
	"encoding/json"
	"errors"
	"log"
	"os"

	"github.com/gorilla/websocket"
)

func say(value any) {
	if err := json.NewEncoder(os.Stdout).Encode(value); err != nil {
		log.Fatal(err)
	}
}

func main() {
	url, offer, texts := os.Args[1], os.Args[2], os.Args[3:]
	dialer := *websocket.DefaultDialer
	if offer != "" {
		dialer.Subprotocols = []string{offer}
	}
	socket, _, err := dialer.Dial(url, nil)
	if err != nil {
		log.Fatal(err)
	}
	say(socket.Subprotocol())
	for _, text := range texts {
		if err := socket.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			log.Fatal(err)
		}
		_, answer, err := socket.ReadMessage()
		if err != nil {
			log.Fatal(err)
		}
		say(string(answer))
	}
	if len(texts) > 0 {
		bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
		if err := socket.WriteMessage(websocket.CloseMessage, bye); err != nil {
			log.Fatal(err)
		}
	}
	_, _, err = socket.ReadMessage()
	var end *websocket.CloseError
	if !errors.As(err, &end) {
		log.Fatal(err)
	}
	say(end.Code)
}
