// Go's net/http: forms, JSON, and a multipart form that is sent in chunks while it is written.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

var base = os.Getenv("FACE_URL")

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func call(name, method, path, contentType string, body io.Reader) {
	request, err := http.NewRequest(method, base+path, body)
	check(err)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	request.Header.Set("X-API-Key", os.Getenv("FACE_API_KEY"))
	response, err := http.DefaultClient.Do(request)
	check(err)
	answer, err := io.ReadAll(response.Body)
	check(err)
	fmt.Println(name, response.StatusCode, string(answer))
}

func main() {
	picture, err := os.ReadFile(os.Args[1])
	check(err)
	image := base64.StdEncoding.EncodeToString(picture)
	const form = "application/x-www-form-urlencoded"
	known := url.Values{"Apid": {os.Getenv("FACE_APID")}, "Kvalue": {os.Getenv("FACE_KVALUE")}}

	call("a-get", "GET", "/api/face", form, strings.NewReader(known.Encode()))
	known.Set("Fimg", image)
	call("a", "POST", "/api/detection", form, strings.NewReader(known.Encode()))

	asked, err := json.Marshal(map[string]string{"image": image})
	check(err)
	call("b", "POST", "/api/faces", "application/json", bytes.NewReader(asked))

	reader, writer := io.Pipe()
	parts := multipart.NewWriter(writer)
	go func() {
		parts.WriteField("api_id", os.Getenv("FACE_API_ID"))
		parts.WriteField("api_secret", os.Getenv("FACE_API_SECRET"))
		for _, name := range []string{"image_one_file", "image_two_file"} {
			part, _ := parts.CreateFormFile(name, "a.jpg")
			part.Write(picture)
		}
		parts.Close()
		writer.Close()
	}()
	call("c", "POST", "/identity/compare_faces_in_two_images", parts.FormDataContentType(), reader)

	// URL-safe letters without padding, as in tokens.
	safe := base64.RawURLEncoding.EncodeToString(picture)
	call("d", "POST", "/v1/searchface", form, strings.NewReader(url.Values{"img": {safe}}.Encode()))

	now := time.Now().Unix()
	appID := os.Getenv("FACE_APP_ID")
	signed := fmt.Sprintf("appId=%s&data=%s&encType=plain&signType=SHA256&timestamp=%d&version=1&key=%s",
		appID, asked, now, os.Getenv("FACE_APP_SECRET"))
	digest := fmt.Sprintf("%x", sha256.Sum256([]byte(signed)))
	request, err := json.Marshal(map[string]any{
		"appId": appID, "data": map[string]string{"image": image}, "encType": "plain", "signType": "SHA256",
		"timestamp": now, "version": "1", "signData": base64.StdEncoding.EncodeToString([]byte(digest)),
	})
	check(err)
	call("e", "POST", "/face2/locate", "", bytes.NewReader(request))
}
