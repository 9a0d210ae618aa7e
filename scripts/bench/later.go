package main
import "context"
func measureCloud(ctx context.Context, b *bench) error { return nil }
func measurePolling(ctx context.Context, b *bench) error { return nil }
func measureControl(ctx context.Context, b *bench) error { return nil }
