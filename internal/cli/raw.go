package cli

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// rawMessage is the encoding of a message of a service that is Holdfast's own.
type rawMessage []byte

// rawCodec hands rawMessages on as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) ([]byte, error) {
	m, ok := v.(rawMessage)
	if !ok {
		return nil, fmt.Errorf("a message of type %T has no encoding here", v)
	}
	return m, nil
}

func (rawCodec) Unmarshal(data []byte, v any) error {
	m, ok := v.(*rawMessage)
	if !ok {
		return fmt.Errorf("a message of type %T has no encoding here", v)
	}
	*m = append((*m)[:0], data...)
	return nil
}

// invokeRaw calls a method over the client's connection, with its user's token.
func invokeRaw(ctx context.Context, client *clientv3.Client, method string, request rawMessage) (answer rawMessage, err error) {
	err = client.ActiveConnection().Invoke(ctx, method, request, &answer, grpc.ForceCodec(rawCodec{}))
	return answer, err
}
