// Java's two clients: HttpURLConnection, which sends every body as a form, and HttpClient, which
// asks to upgrade to HTTP/2 and sends no Content-Type.
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.Base64;
import java.util.HexFormat;

class Client {
    static final String URL = System.getenv("FACE_URL");
    static final String KEY = System.getenv("FACE_API_KEY");
    static final HttpClient CLIENT = HttpClient.newHttpClient();

    static String encoded(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8);
    }

    static void old(String name, String path, String body, String key) throws IOException {
        var call = (HttpURLConnection) URI.create(URL + path).toURL().openConnection();
        call.setRequestMethod("POST");
        call.setDoOutput(true);
        if (key != null) call.setRequestProperty("X-API-Key", key);
        call.getOutputStream().write(body.getBytes(StandardCharsets.UTF_8));
        int status = call.getResponseCode();
        InputStream answer = status < 400 ? call.getInputStream() : call.getErrorStream();
        System.out.println(name + " " + status + " " + new String(answer.readAllBytes(), StandardCharsets.UTF_8));
    }

    static void call(String name, HttpRequest.Builder request) throws Exception {
        var answer = CLIENT.send(request.build(), HttpResponse.BodyHandlers.ofString());
        System.out.println(name + " " + answer.statusCode() + " " + answer.body());
    }

    static HttpRequest.Builder to(String path) {
        return HttpRequest.newBuilder(URI.create(URL + path));
    }

    static byte[] multipart(String boundary, byte[] picture) throws IOException {
        var body = new ByteArrayOutputStream();
        String[][] fields = {
            {"api_id", System.getenv("FACE_API_ID")}, {"api_secret", System.getenv("FACE_API_SECRET")}};
        for (String[] field : fields) {
            body.write(("--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + field[0]
                + "\"\r\n\r\n" + field[1] + "\r\n").getBytes());
        }
        for (String name : new String[] {"image_one_file", "image_two_file"}) {
            body.write(("--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + name
                + "\"; filename=\"a.jpg\"\r\nContent-Type: application/octet-stream\r\n\r\n").getBytes());
            body.write(picture);
            body.write("\r\n".getBytes());
        }
        body.write(("--" + boundary + "--\r\n").getBytes());
        return body.toByteArray();
    }

    public static void main(String[] arguments) throws Exception {
        byte[] picture = Files.readAllBytes(Path.of(arguments[0]));
        String image = Base64.getEncoder().encodeToString(picture);
        String known = "Apid=" + System.getenv("FACE_APID") + "&Kvalue=" + System.getenv("FACE_KVALUE");

        old("a", "/api/detection", known + "&Fimg=" + encoded(image), null);
        call("a-get", to("/api/face").method("GET", BodyPublishers.ofString(known)));

        String json = "{\"image\":\"" + image + "\"}";
        call("b", to("/api/faces").header("X-API-Key", KEY).POST(BodyPublishers.ofString(json)));

        call("c", to("/identity/compare_faces_in_two_images")
            .header("Content-Type", "multipart/form-data; boundary=----java")
            .POST(BodyPublishers.ofByteArray(multipart("----java", picture))));

        // The MIME encoder breaks lines with CR LF.
        String lines = Base64.getMimeEncoder().encodeToString(picture);
        old("d", "/v1/searchface", "img=" + encoded(lines), KEY);

        long now = System.currentTimeMillis() / 1000;
        String appId = System.getenv("FACE_APP_ID");
        String signed = "appId=" + appId + "&data=" + json + "&encType=plain&signType=SHA256&timestamp="
            + now + "&version=1&key=" + System.getenv("FACE_APP_SECRET");
        byte[] hash = MessageDigest.getInstance("SHA-256").digest(signed.getBytes(StandardCharsets.UTF_8));
        String signature = Base64.getEncoder().encodeToString(HexFormat.of().formatHex(hash).getBytes());
        old("e", "/face2/locate", "{\"appId\":\"" + appId + "\",\"data\":" + json
            + ",\"encType\":\"plain\",\"signType\":\"SHA256\",\"timestamp\":" + now
            + ",\"version\":\"1\",\"signData\":\"" + signature + "\"}", null);
    }
}
