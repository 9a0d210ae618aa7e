package main
import "context"
func measurePolling(ctx context.Context, b *bench) error { return nil }
func measureControl(ctx context.Context, b *bench) error { return nil }
