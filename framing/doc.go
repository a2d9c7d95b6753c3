// Package framing finds records in byte streams and puts them there: lines, RecordIO (dmlc/MXNet) and TFRecord, one file
// each. It knows nothing of where the bytes come from or go to.
//
// There are two views of a record. Split gives what a reader of single records wants: the payload, with headers,
// checksums and padding removed and the parts of a RecordIO record joined. Frames gives the original bytes of whole
// logical records, which concatenated are the input again (BT-70). For lines both are the same: the line feed belongs to
// its line (BT-52).
//
// Below both lies Stream, which fills buffers of the caller with whole records; a batch of many records is one Fill.
package framing
