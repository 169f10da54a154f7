package litellm

import (
	"context"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"strconv"
)

// This file reads lists to their end. LiteLLM pages by number: whatever is deleted
// while a client reads moves what follows to the front, and a page later it has been
// missed. A key that is missed is a key that nobody deletes. So each page overlaps
// with the one before: its size, which the client chooses, is such that it begins at
// an item that is known. One that begins with anything that was not seen yet is
// left, and the list read again from further in front.
//
// The keys are listed by their ids, which do not change and are no two the same. A
// proxy that is too old to sort lists the newest first, which does as well.

var opListKeys = operation{name: "list keys", method: http.MethodGet, path: "/key/list"}

const (
	// pageSize is the most that LiteLLM lists at once.
	pageSize = 100
	// maxIdle bounds the pages without anything new, in case a list never ends or
	// changes faster than it is read.
	maxIdle = 20
)

// A page is some keys of a list, and how many there are in all, if LiteLLM says so.
type page struct {
	Keys  *[]*key `json:"keys"`
	Total *int    `json:"total_count"`
}

// makesSense reports whether every key has an id.
func (p *page) makesSense() bool {
	if p.Keys == nil {
		return false
	}
	for _, k := range *p.Keys {
		if k == nil || k.Token == "" {
			return false
		}
	}
	return true
}

// window returns the size and the number of the page that holds the item of an index
// and goes furthest beyond it, and the index that it begins with.
func window(item int) (size, number, start int) {
	end := 0
	for s := pageSize; s > pageSize/2; s-- {
		if n := item / s; (n+1)*s > end {
			size, number, start, end = s, n+1, n*s, (n+1)*s
		}
	}
	return size, number, start
}

// keys yields the keys of all pages, each once, which are fetched as the loop goes
// on. An error is yielded once and last.
func (c *client) keys(ctx context.Context, op operation, filter url.Values) iter.Seq2[key, error] {
	return func(yield func(key, error) bool) {
		seen := map[string]bool{}
		known, idle := 0, 0 // so many items in front are known
		for ; idle < maxIdle; idle++ {
			size, number, start := window(max(0, known-1))
			got, err := c.page(ctx, op, filter, number, size)
			if err != nil {
				yield(key{}, err)
				return
			}
			items := *got.Keys
			if start > 0 && (len(items) == 0 || !seen[items[0].Token]) {
				known = max(0, start-pageSize) + 1
				continue
			}
			for _, k := range items {
				if seen[k.Token] {
					continue
				}
				seen[k.Token], idle = true, 0
				if !yield(*k, nil) {
					return
				}
			}
			if got.last(start, size, known) {
				return
			}
			known = start + len(items)
		}
		yield(key{}, unproven(op, "the list does not end, or changes faster than it can be read"))
	}
}

// last reports whether nothing follows a page that begins at start: it holds nothing
// behind what was known, or fewer keys than it could. The count of the whole list,
// if there is one, must agree; a page's length alone is not believed.
func (p *page) last(start, size, known int) bool {
	end := start + len(*p.Keys)
	if p.Total != nil {
		return *p.Total <= end && len(*p.Keys) < size || *p.Total <= end && end <= known
	}
	return end <= known || end == 0
}

// page fetches one page.
func (c *client) page(ctx context.Context, op operation, filter url.Values, number, size int) (*page, error) {
	query := maps.Clone(filter)
	if query == nil {
		query = url.Values{}
	}
	query.Set("page", strconv.Itoa(number))
	query.Set("size", strconv.Itoa(size))
	query.Set("return_full_object", "true")
	query.Set("sort_by", "token")
	query.Set("sort_order", "asc")
	return do(ctx, c, op, query, nil, (*page).makesSense)
}
