package parity

import (
	"math/rand/v2"

	"google.golang.org/grpc/codes"
)

// A Service makes the operations of one part of the API.
type Service struct {
	Name string
	// Weight is how often the service is drawn, in relation to the others.
	Weight int
	// Next draws an operation. It must depend on nothing but its arguments.
	Next func(*rand.Rand, *State) Operation
	// Corners are cases that chance does not reach often enough. Every run begins with them, on an empty store.
	Corners []Corner
	// Errors are those that its requests can provoke; a run that has not seen all of them on both sides has failed.
	Errors []Refusal
}

// A Corner is a named sequence of requests, each made when the answers before it are known.
type Corner struct {
	Title string
	Steps []func(*State) Operation
}

// A Refusal is an error of the API: clients match code and text exactly.
type Refusal struct {
	Code codes.Code
	Text string
}

func (r Refusal) outcome() string { return r.Code.String() + ": " + r.Text }

// services are the parts of the API that runs cover.
var services = []Service{kvService, maintenanceService, clusterService, watchService, leaseService, authService}

// draw takes the next operation from the queue, or picks one of the services by weight and lets it make an operation.
func draw(r *rand.Rand, services []Service, s *State) Operation {
	if len(s.Queue) > 0 {
		o := s.Queue[0]
		s.Queue = s.Queue[1:]
		return o
	}
	total := 0
	for _, service := range services {
		total += service.Weight
	}
	n := r.IntN(total)
	for _, service := range services {
		if n -= service.Weight; n < 0 {
			o := decorate(r, service.Next(r, s))
			if s.AuthEnabled && o.As == "" {
				o.As = someIdentity(r)
				// What is permitted of a range that holds no key differs: see authKnown.
				if hasInverted(o.Request) {
					o.As = "root"
				}
			}
			return o
		}
	}
	panic("unreachable: weights were summed from the same list")
}

// decorate adds what any request may carry: metadata that real clients send, and fields of a later version, which servers must pass over.
func decorate(r *rand.Rand, o Operation) Operation {
	n := r.IntN(20)
	if !o.Request.ProtoReflect().IsValid() {
		return o
	}
	switch n {
	case 0:
		o.Metadata = map[string]string{"hasleader": "true"}
	case 1:
		o.Metadata = map[string]string{"client-api-version": "3.7"}
	case 2:
		// Field 9999 with the string "later".
		o.Request.ProtoReflect().SetUnknown([]byte{0xfa, 0xf0, 0x04, 5, 'l', 'a', 't', 'e', 'r'})
	}
	return o
}

// pick returns one of the values.
func pick[T any](r *rand.Rand, values ...T) T { return values[r.IntN(len(values))] }

// chance is true once in n times.
func chance(r *rand.Rand, n int) bool { return r.IntN(n) == 0 }

// send is a step of a corner: always the same request.
func send(o Operation) func(*State) Operation {
	return func(*State) Operation { return o }
}
