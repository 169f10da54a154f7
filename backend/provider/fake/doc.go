// Package fake holds what the simulators of all providers share: the faults that
// requests can meet, how an answer is spoiled and sent, and a transport that
// reaches a simulator in memory. It knows no provider.
package fake
