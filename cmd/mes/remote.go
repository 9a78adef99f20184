package main

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/mamba-encoder-swarm/mes/hub"
)
