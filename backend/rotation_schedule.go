package backend

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/rotation"
)

// This file says when a key is rotated by itself: the admin key of a connection, or
// that of a static role.
//
//   - The fields have the names and meanings of the SDK's automated rotation, and
//     its scheduler, which is plain Go, reads them. Vault's own rotation manager is
//     not used: only Enterprise has one.
//   - The next time is stored, so that a restart or a failover neither skips nor
//     repeats a rotation. It changes only when a rotation has been made, a window
//     was missed, or the schedule was written anew.
//   - A rotation that is late is made once, however much it is late. One that has
//     missed its window waits for the next.
//   - A key that is about to expire is rotated before, whatever the schedule says.
//   - A clock that goes back is told by a next time that lies too far ahead.

// A rotationEntry is the part of a stored connection or static role that is about
// rotation. Zero times are none.
type rotationEntry struct {
	Period   seconds `json:"rotation_period,omitempty"`
	Schedule string  `json:"rotation_schedule,omitempty"` // cron, in UTC; only without a period
	Window   seconds `json:"rotation_window,omitempty"`   // after each scheduled time; only with a schedule
	Disabled bool    `json:"disable_automated_rotation,omitempty"`
	Overlap  seconds `json:"rotation_overlap"` // how long a replaced key stays valid
	KeyTTL   seconds `json:"admin_key_ttl,omitempty"`

	Last time.Time `json:"last_vault_rotation,omitzero"` // or when an operator wrote the key
	Next time.Time `json:"next_vault_rotation,omitzero"` // by the schedule

	// Attempt is when the last new key was begun. It is stored before that key is made.
	Attempt time.Time `json:"rotation_attempt,omitzero"`

	// What an attempt that failed has left.
	Failures  int       `json:"rotation_failures,omitempty"`
	RetryAt   time.Time `json:"rotation_retry_at,omitzero"`
	LastError string    `json:"rotation_error,omitempty"`
}

const (
	defaultOverlap seconds = 300
	// minPeriod is how often a sweep comes.
	minPeriod  = time.Minute
	maxOverlap = 7 * 24 * time.Hour
	// minWindow is the SDK's.
	minWindow = time.Hour
)

func rotationFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		"rotation_period":            {Type: framework.TypeDurationSecond, Description: "How often the admin key is rotated by itself: 1m or more; 0 = not by a period. Not together with rotation_schedule."},
		"rotation_schedule":          {Type: framework.TypeString, Description: "When the admin key is rotated by itself, as five fields of cron in UTC, such as 0 3 * * SAT."},
		"rotation_window":            {Type: framework.TypeDurationSecond, Description: "How long after a time of rotation_schedule the rotation may still be made: 1h or more; 0 = however late."},
		"disable_automated_rotation": {Type: framework.TypeBool, Description: "Keep period or schedule, but do not rotate by them."},
		"rotation_overlap":           {Type: framework.TypeDurationSecond, Description: "How long the replaced admin key stays valid after a rotation: up to 7 days, and shorter than the time between two.", Default: int(defaultOverlap)},
		"admin_key_ttl":              {Type: framework.TypeDurationSecond, Description: "Expiry at the provider of admin keys that a rotation makes: 0 = none, else at least three times the time between two rotations."},
	}
}

// rotationAnswer describes what a read adds to the fields.
func rotationAnswer() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		"last_vault_rotation":  {Type: framework.TypeString, Description: "When the admin key was rotated or written last, in RFC 3339."},
		"next_vault_rotation":  {Type: framework.TypeString, Description: "When the admin key is rotated next by itself; empty if never."},
		"admin_key_expires_at": {Type: framework.TypeString, Description: "When the provider itself refuses the admin key; empty if never, or not known."},
	}
}

func (e *configEntry) rotationData(into map[string]any) {
	r := &e.Rotation
	into["rotation_period"] = int64(r.Period)
	into["rotation_schedule"] = r.Schedule
	into["rotation_window"] = int64(r.Window)
	into["disable_automated_rotation"] = r.Disabled
	into["rotation_overlap"] = int64(r.Overlap)
	into["admin_key_ttl"] = int64(r.KeyTTL)
	into["last_vault_rotation"] = rfc3339(r.Last)
	into["next_vault_rotation"] = rfc3339(e.rotateAt())
	into["admin_key_expires_at"] = rfc3339(e.AdminKeyExpires)
}

// rfc3339 is a time as it is read, to the nanosecond; empty for none.
func rfc3339(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// apply applies a write, and checks what comes of it. The overlap is a field of
// another name in each kind of write.
func (r *rotationEntry) apply(d *framework.FieldData, overlap string, longest time.Duration, now time.Time) error {
	set(d, "rotation_schedule", &r.Schedule)
	set(d, "disable_automated_rotation", &r.Disabled)
	err := firstError(
		setSeconds(d, "rotation_period", &r.Period, 0, longestTTL),
		setSeconds(d, "rotation_window", &r.Window, 0, longestTTL),
		setSeconds(d, overlap, &r.Overlap, 0, longest),
		setSeconds(d, "admin_key_ttl", &r.KeyTTL, 0, longestTTL),
	)
	if err != nil {
		return err
	}
	return r.check(overlap, now)
}

func (r *rotationEntry) check(overlap string, now time.Time) error {
	switch period, window := r.Period.duration(), r.Window.duration(); {
	case period > 0 && r.Schedule != "":
		return badField("rotation_schedule", "and rotation_period are both set; clear one, with rotation_period=0 or rotation_schedule=\"\"")
	case period > 0 && period < minPeriod:
		return badField("rotation_period", "%s is below the minimum of %s", period, minPeriod)
	case window > 0 && r.Schedule == "":
		return badField("rotation_window", "is only for a rotation_schedule; clear it with rotation_window=0, or give a schedule")
	case window > 0 && window < minWindow:
		return badField("rotation_window", "%s is below the minimum of %s", window, minWindow)
	}
	if _, err := parseSchedule(r.Schedule); err != nil {
		return err
	}
	return r.checkAgainstInterval(overlap, now)
}

// parseSchedule reads a cron schedule; nil for none. A time zone would be ignored
// by the SDK, so it is refused.
func parseSchedule(schedule string) (*rotation.RotationSchedule, error) {
	if schedule == "" {
		return nil, nil
	}
	const remedy = "give five fields of cron in UTC, such as 0 3 * * SAT"
	if strings.Contains(schedule, "TZ=") {
		return nil, badField("rotation_schedule", "names a time zone; %s", remedy)
	}
	spec, err := rotation.DefaultScheduler.Parse(schedule)
	if err != nil {
		return nil, badField("rotation_schedule", "is not a schedule (%s); %s", err, remedy)
	}
	return &rotation.RotationSchedule{RotationSchedule: schedule, Schedule: spec}, nil
}

// checkAgainstInterval checks what depends on the time between two rotations.
func (r *rotationEntry) checkAgainstInterval(field string, now time.Time) error {
	shortest, longest := r.intervals(now.UTC())
	overlap, ttl := r.Overlap.duration(), r.KeyTTL.duration()
	switch {
	case r.Schedule != "" && longest == 0:
		return badField("rotation_schedule", "never comes; give one that does")
	case longest > 0 && overlap >= shortest:
		return badField(field, "%s is not shorter than the time between two rotations, which is %s; lower it, or rotate less often", overlap, shortest)
	case ttl > 0 && (longest == 0 || r.Disabled):
		return badField("admin_key_ttl", "needs automated rotation, or the connection would lose its admin key; give rotation_period or rotation_schedule, or clear it with admin_key_ttl=0")
	case ttl > 0 && ttl < 3*longest:
		return badField("admin_key_ttl", "%s is less than three times the time between two rotations, which is %s; give %s or more", ttl, longest, 3*longest)
	}
	return nil
}

// intervals returns the shortest and the longest time between two rotations, of a
// schedule's next hundred; zero if there are none.
func (r *rotationEntry) intervals(from time.Time) (shortest, longest time.Duration) {
	if r.Schedule == "" {
		return r.Period.duration(), r.Period.duration()
	}
	schedule, err := parseSchedule(r.Schedule)
	if err != nil {
		return 0, 0
	}
	at := schedule.Schedule.Next(from)
	for range 100 {
		next := schedule.Schedule.Next(at)
		if at.IsZero() || next.IsZero() {
			return 0, 0
		}
		gap := next.Sub(at)
		if shortest == 0 || gap < shortest {
			shortest = gap
		}
		longest, at = max(longest, gap), next
	}
	return shortest, longest
}

// planFrom sets the next time, for a rotation that was made at last.
func (r *rotationEntry) planFrom(last time.Time) {
	r.Next = time.Time{}
	switch schedule, err := parseSchedule(r.Schedule); {
	case r.Disabled || err != nil:
	case schedule != nil:
		r.Next = rotation.DefaultScheduler.NextRotationTimeFromInput(schedule, last.UTC())
	case r.Period > 0:
		r.Next = last.Add(r.Period.duration())
	}
}

// plansLike reports whether two entries rotate at the same times.
func (r *rotationEntry) plansLike(other *rotationEntry) bool {
	return r.Period == other.Period && r.Schedule == other.Schedule && r.Disabled == other.Disabled
}

// replan sets the next time after the schedule was changed. A period counts from
// the last rotation, a schedule from now. What had failed is tried anew.
func (r *rotationEntry) replan(now time.Time) {
	r.Failures, r.RetryAt = 0, time.Time{}
	if r.Last.IsZero() || r.Schedule != "" {
		r.planFrom(now)
		return
	}
	r.planFrom(r.Last)
}

// at is when the sweep rotates next, if before is when it must have, at the latest;
// zero for never.
func (r *rotationEntry) at(before time.Time) time.Time {
	at := r.Next
	if at.IsZero() {
		return at
	}
	if !before.IsZero() && before.Before(at) {
		at = before
	}
	if r.RetryAt.After(at) {
		return r.RetryAt
	}
	return at
}

// missed reports whether a rotation that is due may not be made any more, because
// its window is over. That of a key that is about to expire is made all the same.
func (r *rotationEntry) missed(before, now time.Time) bool {
	if !before.IsZero() && !now.Before(before) {
		return false
	}
	return !rotation.DefaultScheduler.IsInsideRotationWindow(
		&rotation.RotationSchedule{RotationWindow: r.Window.duration(), NextVaultRotation: r.Next}, now)
}

// due is when the next rotation should be made, however often it has failed; zero for
// never.
func (r *rotationEntry) due(before time.Time) time.Time {
	planned := *r
	planned.RetryAt = time.Time{}
	return planned.at(before)
}

// trouble says what is wrong with a rotation whose time is due; empty if nothing is.
func (r *rotationEntry) trouble(due, now time.Time) string {
	late := !due.IsZero() && now.Sub(due) > overdueAfter
	var parts []string
	if late {
		parts = append(parts, "its rotation is due since "+rfc3339(due))
	}
	if r.Failures > 0 {
		parts = append(parts, fmt.Sprintf("attempts that failed since the last rotation: %d", r.Failures))
	}
	if len(parts) > 0 && r.LastError != "" {
		parts = append(parts, r.LastError)
	}
	return strings.Join(parts, "; ")
}

func (e *configEntry) rotateDue() time.Time { return e.Rotation.due(e.rotateBefore()) }

// rotateAt is when the sweep rotates the admin key next; zero for never.
func (e *configEntry) rotateAt() time.Time { return e.Rotation.at(e.rotateBefore()) }

func (e *configEntry) missedWindow(now time.Time) bool {
	return e.Rotation.missed(e.rotateBefore(), now)
}

// rotateBefore is when an admin key that expires has two thirds of its life behind
// it; zero for one that does not.
func (e *configEntry) rotateBefore() time.Time {
	if e.AdminKeyExpires.IsZero() {
		return time.Time{}
	}
	return e.AdminKeyExpires.Add(-e.AdminKeyExpires.Sub(e.Rotation.Last) / 3)
}

// failed notes an attempt that has failed, and when the next one is made.
func (r *rotationEntry) failed(now time.Time, noun string, err error) {
	r.Failures++
	r.RetryAt = now.Add(retryDelay(r.Failures))
	if now.Before(r.Next) && r.RetryAt.After(r.Next) {
		r.RetryAt = time.Time{} // it was made by hand, and puts off nothing
	}
	r.LastError = fmt.Sprintf("%s: rotation of the %s: %s", now.UTC().Format(time.RFC3339), noun, err)
}

var errMissedWindow = errors.New("the rotation_window was over before the key could be rotated; the next time is in next_vault_rotation")

// skip gives up the scheduled time whose window is over.
func (r *rotationEntry) skip(now time.Time, noun string) {
	r.failed(now, noun, errMissedWindow)
	r.Failures, r.RetryAt = 0, time.Time{}
	r.planFrom(now)
}

// correct plans anew if the clock was ahead when the next time was planned, or the
// last failure was noted, and reports whether it was.
func (r *rotationEntry) correct(now time.Time) bool {
	planned, from := *r, now
	if r.Last.After(now) && r.Last.Sub(now) <= clockTolerance {
		from = r.Last // two nodes, whose clocks differ a little
	}
	planned.planFrom(from)
	switch late := now.Add(clockTolerance); {
	case r.Next.After(planned.Next.Add(clockTolerance)):
	case r.RetryAt.After(late.Add(retryDelays[len(retryDelays)-1])):
		planned.Next = r.Next
	default:
		return false
	}
	r.Next, r.Failures, r.RetryAt = planned.Next, 0, time.Time{}
	return true
}

// attempt notes that a new key is about to be made: should nothing be noted of it any
// more, the next attempt waits nevertheless.
func (r *rotationEntry) attempt(now time.Time) {
	r.Attempt = now
	if retry := now.Add(retryDelay(0)); r.RetryAt.Before(retry) && !now.Before(r.Next) {
		r.RetryAt = retry
	}
}

// succeeded notes a rotation.
func (r *rotationEntry) succeeded(now time.Time) {
	r.Last = now
	r.Failures, r.RetryAt, r.LastError = 0, time.Time{}, ""
	r.planFrom(now)
}
