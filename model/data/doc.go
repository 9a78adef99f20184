// Package data makes training examples: it turns text into shards of token ids, and reads
// them as documents for evaluation or as packed rows in batches for training.
//
// [Prepare] writes a folder, which appears when it is complete:
//
//	data.json                    what is there: tokenizer, domains, splits, counts, rules
//	tokenizer/                   the tokenizer's files, copied
//	{train,valid,test}/DOMAIN-00000.tok, DOMAIN-00001.tok, ...
//
// # Shards
//
// A shard holds whole documents of one domain and split. All numbers are little endian:
//
//	offset  bytes
//	0       8      "MESSHARD"
//	8       4      version, 1
//	12      4      width W of a token: 2 if the vocabulary has at most 65536 ids, else 4
//	16      8      size of the vocabulary; every id is below it
//	24      8      tokens N
//	32      8      documents D
//	40      8      bytes of text of all documents
//	48      32     SHA-256 of what follows offset 80, and then of offsets 0 to 47
//	80      N·W    ids of one document after the other
//	        0-7    zeros up to a multiple of 8
//	        D·16   for each document: number of the token behind its last one, bytes of its text
//
// A document begins with the tokens that the tokenizer itself puts before a text.
//
// # Rows
//
// Training sees rows: the documents of a domain one after the other, cut into pieces of
// SeqLen+1 ids that overlap by one, so that every id but the first is a target once. What
// is left at the end is dropped. A row has one domain. See [Loader] for their order.
package data
