<?php
// PHP's curl: an array is sent as multipart, a string with a form's Content-Type. And its streams.
[, $picture] = $argv;
$image = base64_encode(file_get_contents($picture));
$url = getenv('FACE_URL');

function call(string $name, string $url, $body, array $headers = [], array $options = []): void
{
    $request = curl_init($url);
    curl_setopt_array($request, [
        CURLOPT_POST => true, CURLOPT_POSTFIELDS => $body, CURLOPT_HTTPHEADER => $headers,
        CURLOPT_RETURNTRANSFER => true, CURLOPT_PROXY => '',
    ] + $options);
    $answer = curl_exec($request);
    echo $name, ' ', curl_getinfo($request, CURLINFO_RESPONSE_CODE), ' ', $answer, "\n";
}

$known = ['Apid' => getenv('FACE_APID'), 'Kvalue' => getenv('FACE_KVALUE')];
call('a', "$url/api/detection", $known + ['Fimg' => $image]);
$context = stream_context_create(['http' => [
    'method' => 'GET', 'header' => 'Content-Type: application/x-www-form-urlencoded',
    'content' => http_build_query($known), 'ignore_errors' => true,
]]);
$faces = file_get_contents("$url/api/face", false, $context);
echo 'a-get ', explode(' ', $http_response_header[0])[1], ' ', $faces, "\n";

$key = ['X-API-Key: ' . getenv('FACE_API_KEY')];
call('b', "$url/api/faces", json_encode(['image' => $image]), $key);

call('c', "$url/identity/compare_faces_in_two_images", [
    'api_id' => getenv('FACE_API_ID'), 'api_secret' => getenv('FACE_API_SECRET'),
    'image_one_file' => new CURLFile($picture), 'image_two_file' => new CURLFile($picture),
]);

call('d', "$url/v1/searchface", ['img' => $image], $key);

// json_encode writes \/ unless told otherwise: the body may, the signed string may not.
$request = [
    'appId' => getenv('FACE_APP_ID'), 'data' => ['image' => $image], 'encType' => 'plain',
    'signType' => 'SHA256', 'timestamp' => time(), 'version' => '1',
];
$pairs = [];
foreach ($request as $name => $value) {
    $text = is_array($value) ? json_encode($value, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE) : $value;
    $pairs[] = "$name=$text";
}
$signed = implode('&', $pairs) . '&key=' . getenv('FACE_APP_SECRET');
$request['signData'] = base64_encode(hash('sha256', $signed));
call('e', "$url/face2/locate", json_encode($request));
