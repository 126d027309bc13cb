# curl as people type it: -d sends a form's Content-Type whatever the body is.
set -euo pipefail
picture=$1
image=$(base64 -w0 <"$picture")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say() { printf '%s %s %s\n' "$1" "$(tail -n1 "$work/answer")" "$(sed '$d' "$work/answer" | tr -d '\n')"; }
call() { curl -sS --noproxy '*' -w '\n%{http_code}\n' "$@" >"$work/answer"; }

call --data "Apid=$FACE_APID&Kvalue=$FACE_KVALUE" --data-urlencode Fimg@<(printf %s "$image") \
    "$FACE_URL/api/detection"
say a
call -X GET -d "Apid=$FACE_APID&Kvalue=$FACE_KVALUE" "$FACE_URL/api/face"
say a-get

printf '{"image": "%s"}' "$image" >"$work/b.json"
call -H "X-API-Key: $FACE_API_KEY" -d "@$work/b.json" "$FACE_URL/api/faces"
say b

call -F "api_id=$FACE_API_ID" -F "api_secret=$FACE_API_SECRET" \
    -F "image_one_file=@$picture" -F "image_two_file=@$picture" \
    "$FACE_URL/identity/compare_faces_in_two_images"
say c

base64 <"$picture" | call -H "X-API-Key: $FACE_API_KEY" --data-urlencode img@- "$FACE_URL/v1/searchface"
say d

now=$(date +%s)
data="{\"image\":\"$image\"}"
signed="appId=$FACE_APP_ID&data=$data&encType=plain&signType=SHA256&timestamp=$now&version=1&key=$FACE_APP_SECRET"
signature=$(printf %s "$signed" | sha256sum | cut -c1-64 | tr -d '\n' | base64 -w0)
printf '{"appId":"%s","data":%s,"encType":"plain","signType":"SHA256","timestamp":%s,"version":"1","signData":"%s"}' \
    "$FACE_APP_ID" "$data" "$now" "$signature" >"$work/e.json"
call -d "@$work/e.json" "$FACE_URL/face2/locate"
say e
