package webhook_test

const childEnv = "WEBHOOK_CHILD"

func child() {}
