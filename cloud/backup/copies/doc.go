// Package copies brings the files of the roles to the backup, over the bus: a role
// that keeps something answers query/<role>_copy with its files, each as it was at
// one moment, in parts.
//
// What is secret goes out as ciphertext only, for the recipients that the role's own
// configuration names: who asks cannot choose them, and without any there are no
// secrets in the answer.
package copies
