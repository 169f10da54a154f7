package openai

import (
	"iter"

	"github.com/openai/openai-go/v3/packages/pagination"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file reads lists to their end. The SDK's own pager stops, without an
// error, at a page that says that there is more but names no last_id. A key that
// is missed here is a key that nobody deletes.

// pageSize is the largest that OpenAI allows.
const pageSize = 100

// validPage accepts a page that is a list of things with ids, which id returns.
// An answer without a list is not an empty list.
func validPage[T any](id func(T) (string, bool)) func(*pagination.ConversationCursorPage[T]) bool {
	return func(page *pagination.ConversationCursorPage[T]) bool {
		for _, item := range page.Data {
			if _, ok := id(item); !ok {
				return false
			}
		}
		return page.JSON.Data.Valid()
	}
}

// all yields the items of all pages. An error is yielded once and last. A cursor
// that was used before ends the list with an error.
func all[T any](
	op operation, id func(T) (string, bool),
	fetch func(after string) (*pagination.ConversationCursorPage[T], error),
) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		after, used := "", map[string]bool{"": true}
		for {
			page, err := fetch(after)
			if err != nil {
				yield(none, err)
				return
			}
			for _, item := range page.Data {
				if !yield(item, nil) {
					return
				}
			}
			var more bool
			if after, more = next(page, id); !more {
				return
			}
			if used[after] {
				yield(none, &provider.Error{
					Kind: provider.Unavailable, Provider: name, Op: op.name,
					Reason: "the list says that there is more, but not where",
				})
				return
			}
			used[after] = true
		}
	}
}

// next returns the cursor of the next page, and whether there is one. A page
// that does not say is the last only if it is empty.
func next[T any](page *pagination.ConversationCursorPage[T], id func(T) (string, bool)) (after string, more bool) {
	if n := len(page.Data); n > 0 {
		after, _ = id(page.Data[n-1])
		if isText(page.JSON.LastID) {
			after = page.LastID
		}
	}
	if page.JSON.HasMore.Valid() {
		return after, page.HasMore
	}
	return after, after != ""
}
