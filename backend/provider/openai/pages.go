package openai

import (
	"context"
	"iter"

	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/pagination"
	"github.com/openai/openai-go/v3/packages/param"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file reads lists to their end. The SDK's own pager stops, without an
// error, at a page that says that there is more but names no last_id. A key that
// is missed here is a key that nobody deletes.

// pageSize is the largest that OpenAI allows.
const pageSize = 100

// A list is one of OpenAI's, of things T in the SDK's pages P.
type list[T, P any] struct {
	op operation
	id func(T) (string, bool) // of a thing, and whether it has one
	// fetch asks for the page behind a cursor, which is left out of the first.
	fetch func(after param.Opt[string], watch option.RequestOption) (*P, error)
	read  func(*P) page[T]
}

// A page is what counts of the SDK's pages.
type page[T any] struct {
	items  []T
	isList bool // an answer without a list is not an empty list
	last   string
	more   bool
	says   bool // whether there is more
}

// byLastID reads the pages that name the cursor of the next one.
func byLastID[T any](p *pagination.ConversationCursorPage[T]) page[T] {
	out := page[T]{items: p.Data, isList: p.JSON.Data.Valid(), more: p.HasMore, says: p.JSON.HasMore.Valid()}
	if isText(p.JSON.LastID) {
		out.last = p.LastID
	}
	return out
}

// byLastItem reads those whose cursor is the id of their last item.
func byLastItem[T any](p *pagination.CursorPage[T]) page[T] {
	return page[T]{items: p.Data, isList: p.JSON.Data.Valid(), more: p.HasMore, says: p.JSON.HasMore.Valid()}
}

// all yields the items of all pages, which are fetched as the loop goes on. An
// error is yielded once and last. A cursor that was used before ends the list
// with an error.
func all[T, P any](ctx context.Context, c *client, l list[T, P]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		after, used := "", map[string]bool{"": true}
		for {
			page, err := l.page(ctx, c, after)
			if err != nil {
				yield(none, err)
				return
			}
			for _, item := range page.items {
				if !yield(item, nil) {
					return
				}
			}
			var more bool
			if after, more = l.next(page); !more {
				return
			}
			if used[after] {
				yield(none, &provider.Error{
					Kind: provider.Unavailable, Provider: name, Op: l.op.name,
					Reason: "the list says that there is more, but not where",
				})
				return
			}
			used[after] = true
		}
	}
}

// page fetches the page behind a cursor; the first, if that is empty.
func (l list[T, P]) page(ctx context.Context, c *client, after string) (page[T], error) {
	var cursor param.Opt[string]
	if after != "" {
		cursor = param.NewOpt(after)
	}
	res, err := do(ctx, c, l.op,
		func(watch option.RequestOption) (*P, error) { return l.fetch(cursor, watch) },
		func(res *P) bool { return l.valid(l.read(res)) })
	if err != nil {
		return page[T]{}, err
	}
	return l.read(res), nil
}

// valid accepts a page that is a list of things with ids.
func (l list[T, P]) valid(p page[T]) bool {
	for _, item := range p.items {
		if _, ok := l.id(item); !ok {
			return false
		}
	}
	return p.isList
}

// next returns the cursor of the next page, and whether there is one. A page
// that does not say is the last only if it is empty.
func (l list[T, P]) next(p page[T]) (after string, more bool) {
	if n := len(p.items); n > 0 {
		after, _ = l.id(p.items[n-1])
		if p.last != "" {
			after = p.last
		}
	}
	if p.says {
		return after, p.more
	}
	return after, after != ""
}

// head returns the first item of a list, or why there is none: an error, or nil
// for an empty list. It fetches no more than it needs.
func head[T any](items iter.Seq2[T, error]) (first T, found bool, err error) {
	for first, err = range items {
		return first, err == nil, err
	}
	return first, false, nil
}
