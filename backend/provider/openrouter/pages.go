package openrouter

import (
	"context"
	"iter"
	"maps"
	"net/url"
	"strconv"
)

// This file reads lists to their end. OpenRouter pages by offset: whatever is
// deleted while a client reads moves what follows to the front, and a page later it
// has been missed. A key that is missed is a key that nobody deletes. So each page
// begins with the last item of the one before; one that begins with anything that
// was not seen yet is left, and the list read again from further in front. A page's
// length is not believed to mean that there is no other: the list ends where
// nothing follows an item that is known.

const (
	// pageSize is what OpenRouter lists at once.
	pageSize = 100
	// maxIdle bounds the pages without anything new, in case a list never ends or
	// changes faster than it is read.
	maxIdle = 20
)

// A list is one of OpenRouter's.
type list[T any] struct {
	op    operation
	path  string
	query url.Values
	id    func(T) string // empty if there is none
}

// all yields the items of all pages, each once, which are fetched as the loop goes
// on. An error is yielded once and last.
func all[T any](ctx context.Context, c *client, l list[T]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		seen := map[string]bool{}
		offset, idle := 0, 0
		for idle < maxIdle {
			page, err := l.page(ctx, c, offset)
			if err != nil {
				yield(none, err)
				return
			}
			if offset > 0 && (len(page) == 0 || !seen[l.id(page[0])]) {
				offset, idle = max(0, offset-pageSize), idle+1
				continue
			}
			idle++
			for _, item := range page {
				id := l.id(item)
				if seen[id] {
					continue
				}
				seen[id], idle = true, 0
				if !yield(item, nil) {
					return
				}
			}
			if len(page) <= 1 {
				return
			}
			offset += len(page) - 1
		}
		yield(none, unproven(l.op, "the list does not end, or changes faster than it can be read"))
	}
}

// page fetches the page at an offset.
func (l list[T]) page(ctx context.Context, c *client, offset int) ([]T, error) {
	query := maps.Clone(l.query)
	if query == nil {
		query = url.Values{}
	}
	if offset > 0 {
		query.Set("offset", strconv.Itoa(offset))
	}
	type answer struct {
		Data *[]*T `json:"data"`
	}
	res, err := do(ctx, c, l.op, l.path, query, nil, func(a *answer) bool {
		if a.Data == nil {
			return false
		}
		for _, item := range *a.Data {
			if item == nil || l.id(*item) == "" {
				return false
			}
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	items := make([]T, 0, len(*res.Data))
	for _, item := range *res.Data {
		items = append(items, *item)
	}
	return items, nil
}
