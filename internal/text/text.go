// Package text has words for messages.
package text

import "fmt"

// Plural is a number with the word for one or for many.
func Plural[N int | int64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
