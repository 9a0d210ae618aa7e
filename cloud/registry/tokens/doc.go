// Package tokens is the registry's room of people's tokens: who may look,
// switch and change over REST. A token is 256 random bits that are shown once,
// when it is made; what is kept, and told to the api on retained topics, is
// their SHA-256, a name, a role, floors and an end.
//
// It guarantees that a site which has an admin keeps one: the last admin token
// in force is not deleted. Each change and its entry in the audit log are one
// transaction. Names are unique whatever their case and are what the audit log
// calls people by, so none of them looks like what it calls clients without a
// token.
//
// In the file they are the bucket tokens, id to JSON of contract.Token.
package tokens
