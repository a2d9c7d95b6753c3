package dataprocessing

import (
	"bytes"

	"github.com/google/uuid"
)

// The members of BT-172.
const (
	keyID   = "SageMakerInferenceId"
	keyTime = "SageMakerInferenceTime"
)

// identify adds a random id and the time at which the job began to the row in parts: two last columns, or two members; a
// result that is no object becomes the member of one, as in a join. What has had members of these names loses them. A row
// without a byte is no result.
func (s *Scratch) identify(f format, began string) {
	text := s.parts[0]
	if len(s.parts) > 1 {
		text = s.join()
	}
	if len(text) == 0 {
		return
	}
	s.parts = append(s.parts[:0], text)
	id := s.id[:0]
	defer func() { s.id = id }()
	if f == csv {
		id = append(append(append(append(id, ','), uuid.NewString()...), ','), began...)
		s.parts = append(s.parts, id)
		return
	}
	if text[0] != '{' {
		s.parts = append(s.parts[:0], openOutput, text)
		id = append(id, ',')
	} else {
		others := 0
		taken := false
		for key := range members(text) {
			if is(key, keyID) || is(key, keyTime) {
				taken = true
			} else {
				others++
			}
		}
		if taken {
			rest := without(s.rest[:0], text, keyID, keyTime)
			text, s.rest = rest, rest
		}
		s.parts[0] = bytes.TrimRight(text[:len(text)-1], " \t\r\n")
		if others > 0 {
			id = append(id, ',')
		}
	}
	id = append(append(append(id, `"`+keyID+`":"`...), uuid.NewString()...), `","`+keyTime+`":"`...)
	id = append(append(id, began...), `"}`...)
	s.parts = append(s.parts, id)
}
