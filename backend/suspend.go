package backend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// This file suspends roles: a suspended role issues and renews nothing.
//
//   - A suspension is of a name and not of a stored role. So it holds for a role
//     that is deleted and written again: who may write roles cannot lift it.
//   - One of a part of a name, which ends in a slash, holds for all roles below it,
//     also for those that are written later.
//   - An issue looks before it writes anything, and again before it hands its key
//     over; a renew looks before and after it asks the provider. So once a suspension
//     is stored, nothing more is given out.

// A suspension says that a role is suspended, why, when and by whom.
//
//	{"version":1,"reason":"leaked in CI","at":"…","by":{"entity_id":"…","display_name":"…"}}
type suspension struct {
	Version int       `json:"version"`
	Reason  string    `json:"reason,omitempty"`
	At      time.Time `json:"at"`
	By      owner     `json:"by"`

	name string // of a role, or with a slash at its end, of all below
}

const suspensionVersion = 1

// subtree reports whether a name stands for all roles below it.
func subtree(name string) bool { return strings.HasSuffix(name, "/") }

// standsFor reports whether a name stands for a role.
func standsFor(name, role string) bool {
	return name == role || subtree(name) && strings.HasPrefix(role, name)
}

func loadSuspension(ctx context.Context, s logical.Storage, name string) (*suspension, error) {
	found, err := load[suspension](ctx, s, suspendKey(name))
	if found != nil {
		found.name = name
	}
	return found, err
}

// suspensionOf returns what suspends a role: nil if nothing does.
func suspensionOf(ctx context.Context, s logical.Storage, role string) (*suspension, error) {
	for name := role; name != ""; name = parent(name) {
		if found, err := loadSuspension(ctx, s, name); err != nil || found != nil {
			return found, err
		}
	}
	return nil, nil
}

// parent is the part of a name above it, with its slash; empty if there is none.
func parent(name string) string {
	name = strings.TrimSuffix(name, "/")
	return name[:strings.LastIndex(name, "/")+1]
}

// mayUse refuses a suspended role.
func mayUse(ctx context.Context, s logical.Storage, role string) error {
	found, err := suspensionOf(ctx, s, role)
	if err != nil || found == nil {
		return err
	}
	return refuse(http.StatusForbidden, "%s", found.of(role))
}

// mayRenew is mayUse for a renew, whose error has no status.
func mayRenew(ctx context.Context, s logical.Storage, role string) error {
	err := mayUse(ctx, s, role)
	if refused, ok := errors.AsType[*refusal](err); ok {
		return notRenewable(refused.text)
	}
	return err
}

// of says that a role is suspended.
func (s *suspension) of(role string) string {
	why := ""
	if s.Reason != "" {
		why = fmt.Sprintf(" (%q)", s.Reason)
	}
	return fmt.Sprintf("role %q is suspended%s; a write to %s lifts it", role, why, resumePath(s.name))
}

// resumePath is how to lift a suspension, in words that the command line takes: it
// drops a slash at the end of a path.
func resumePath(name string) string {
	if subtree(name) {
		return "resume/" + strings.TrimSuffix(name, "/") + " with subtree=true"
	}
	return "resume/" + name
}

// resumeCommand lifts a suspension, on a mount of a path.
func (s *suspension) resumeCommand(mount string) string {
	if subtree(s.name) {
		return fmt.Sprintf("vault write %sresume/%s subtree=true", mount, strings.TrimSuffix(s.name, "/"))
	}
	return fmt.Sprintf("vault write -f %sresume/%s", mount, s.name)
}

// rolesUnder returns the stored roles, static ones too, that a name stands for.
func rolesUnder(ctx context.Context, s logical.Storage, name string) ([]string, error) {
	var roles []string
	for _, prefix := range []string{rolePrefix, staticPrefix} {
		if !subtree(name) {
			entry, err := s.Get(ctx, prefix+name)
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", prefix+name, err)
			}
			if entry != nil {
				roles = append(roles, name)
			}
			continue
		}
		err := walk(ctx, s, prefix+name, func(key string) error {
			roles = append(roles, strings.TrimPrefix(key, prefix))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return roles, nil
}

// suspensions returns all suspensions.
func suspensions(ctx context.Context, s logical.Storage) ([]*suspension, error) {
	var all []*suspension
	err := walk(ctx, s, suspendPrefix, func(key string) error {
		found, err := loadSuspension(ctx, s, suspendedName(key))
		if found != nil {
			all = append(all, found)
		}
		return err
	})
	return all, err
}
