// Opens a checkpoint that a witness cosigned, with the note package behind Go's checksum database and a verifier that
// follows C2SP tlog-cosignature. Nothing here comes from Isthmus.
//
//	go-cosignature LOG_VKEY WITNESS_VKEY < checkpoint
//
// Prints the name and the time of the cosignature; exits 1 unless both signatures hold.
package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c cosigner) Name() string    { return c.name }
func (c cosigner) KeyHash() uint32 { return c.hash }

func (c cosigner) Verify(text, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	at := binary.BigEndian.Uint64(signature)
	message := fmt.Sprintf("cosignature/v1\ntime %d\n%s", at, text)
	return ed25519.Verify(c.key, []byte(message), signature[8:])
}

func parse(vkey string) (c cosigner, err error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return c, errors.New("not a vkey")
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != 4 {
		return c, errors.New("not a cosigner's vkey")
	}
	digest := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	c = cosigner{parts[0], binary.BigEndian.Uint32(digest[:]), key[1:]}
	claimed, err := strconv.ParseUint(parts[1], 16, 32)
	if err == nil && uint32(claimed) != c.hash {
		err = errors.New("another key's id")
	}
	return c, err
}

func run() error {
	log, err := note.NewVerifier(os.Args[1])
	if err != nil {
		return err
	}
	witness, err := parse(os.Args[2])
	if err != nil {
		return err
	}
	data, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	opened, err := note.Open(data, note.VerifierList(log, witness))
	if err != nil {
		return err
	}
	if len(opened.Sigs) != 2 {
		return errors.New("not signed by both")
	}
	raw, err := base64.StdEncoding.DecodeString(opened.Sigs[1].Base64)
	if err != nil {
		return err
	}
	fmt.Printf("%s %d\n", opened.Sigs[1].Name, binary.BigEndian.Uint64(raw[4:12]))
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
