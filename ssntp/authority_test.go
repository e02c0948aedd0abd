package ssntp_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ciaocloud/ciao/ssntp"
	"github.com/ciaocloud/ciao/ssntp/ssntptest"
)

var update = flag.Bool("update", false, "rewrite generated parts of documents")

const document = "../docs/ssntp.md"

// TestDocument holds the table in the document to the rules in the code.
func TestDocument(t *testing.T) {
	b, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(b), "-update` -->\n")
	_, tail, ok2 := strings.Cut(rest, "<!-- end of authority table")
	if !ok1 || !ok2 {
		t.Fatal("the document has no marks of the authority table")
	}
	want := head + "-update` -->\n" + authorityTable() + "<!-- end of authority table" + tail
	if want == string(b) {
		return
	}
	if !*update {
		t.Fatal("the authority table in docs/ssntp.md differs from the code: run go test ./ssntp -run TestDocument -update")
	}
	if err := os.WriteFile(document, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func authorityTable() string {
	var b strings.Builder
	b.WriteString("\n| kind | number | operand | from | to | all | droppable |\n|---|---|---|---|---|---|---|\n")
	mark := map[bool]string{true: "yes"}
	roles := func(r ssntp.Role) string {
		if r == 0x3f {
			return "everyone"
		}
		return strings.ReplaceAll(r.String(), "|", ", ")
	}
	for _, r := range ssntp.Rules() {
		fmt.Fprintf(&b, "| %v | %d | %s | %s | %s | %s | %s |\n", r.Operand.Kind(), r.Operand.Number(), r.Name,
			roles(r.From), roles(r.To), mark[r.Multicast], mark[r.Droppable])
	}
	return b.String() + "\n"
}

func TestOperandsHaveNames(t *testing.T) {
	for _, r := range ssntp.Rules() {
		if r.Operand.String() != r.Name || r.From == 0 || r.To == 0 {
			t.Errorf("the rule of %v is %+v", r.Operand, r)
		}
	}
	if got := ssntp.Operand(0x03c8).String(); got != "event 0xc8" {
		t.Errorf("an unknown operand is called %q", got)
	}
}

// TestAuthorityPerFrame sends every operand from every role to every role,
// past the client's own check, and sees who gets it.
func TestAuthorityPerFrame(t *testing.T) {
	clients := []ssntp.Role{ssntp.RoleAgent, ssntp.RoleNetAgent, ssntp.RoleController, ssntp.RoleCNCIAgent}
	for _, from := range clients {
		t.Run(from.String(), func(t *testing.T) {
			hub := ssntptest.NewHub(t)
			for _, to := range clients {
				receiver, log := hub.Client(t, to)
				hub.Log.Connected(t)
				checkAuthority(t, hub, from, to, receiver.Identity().ID, log)
			}
		})
	}
}

func checkAuthority(t *testing.T, hub *ssntptest.Hub, from, to ssntp.Role, receiver ssntp.ID, log *ssntptest.Log) {
	t.Helper()
	var peer *ssntptest.Peer
	number, refused := uint64(0), 0
	for _, rule := range ssntp.Rules() {
		if rule.Operand.Kind() == ssntp.KindError {
			continue // is never answered
		}
		if peer == nil || refused > 20 {
			peer, number, refused = joined(t, hub, from), 0, 0
		}
		number++
		if err := peer.Send(ssntptest.To(rule.Operand, number, receiver, "")); err != nil {
			t.Fatal(err)
		}
		if rule.From&from != 0 && rule.To&to != 0 {
			log.Frame(t, rule.Operand)
			continue
		}
		refused++
		answer, err := peer.Next()
		if err != nil || answer.Kind != byte(ssntp.KindError) || answer.Number != ssntp.NotAuthorized.Number() {
			t.Errorf("%v from %v to %v is answered by %+v, %v", rule.Operand, from, to, answer, err)
		}
	}
}

func TestClientChecksAuthorityBeforeSending(t *testing.T) {
	hub := ssntptest.NewHub(t)
	client, err := ssntp.NewClient(hub.ClientConfig(ssntp.RoleAgent, new(ssntptest.Log).Handler()))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		frame ssntp.Frame
		want  error
	}{
		"not its operand":  {ssntp.Frame{Operand: ssntp.Start, Destination: hub.ID}, ssntp.ErrNotAuthorized},
		"unknown operand":  {ssntp.Frame{Operand: 0x0399}, ssntp.ErrInvalidFrame},
		"too large":        {ssntp.Frame{Operand: ssntp.Ready, Payload: make([]byte, 1<<20+1)}, ssntp.ErrTooLarge},
		"allowed, at last": {ssntp.Frame{Operand: ssntp.Ready, Payload: make([]byte, 1<<20)}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if err := client.Send(context.Background(), test.frame); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}
