package server

import "strings"

// largePatterns lists the names that are large files in every new repo.
const largePatterns = `*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gz *.h5 *.joblib *.lfs.* *.mlmodel *.model *.msgpack *.npy
*.npz *.onnx *.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors saved_model/**/* *.tar.* *.tar *.tflite
*.tgz *.wasm *.xz *.zip *.zst *tfevents*`

// defaultAttributes is the .gitattributes file of a new repo.
func defaultAttributes() string {
	var text strings.Builder
	for pattern := range strings.FieldsSeq(largePatterns) {
		text.WriteString(pattern + " filter=lfs diff=lfs merge=lfs -text\n")
	}
	return text.String()
}
