package transform

// Tests of this package live in transform_test where they can; this file opens what they need of the inside.

// WithPayloadBytes sets the payload limit in bytes instead of megabytes.
func (c Config) WithPayloadBytes(n int64) Config {
	c.payloadBytes = n
	return c
}
