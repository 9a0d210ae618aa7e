package main
import "context"
func measureControl(ctx context.Context, b *bench) error { return nil }
