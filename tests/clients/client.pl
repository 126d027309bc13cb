# Perl with its core modules alone: HTTP::Tiny.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use HTTP::Tiny;
use MIME::Base64 qw(encode_base64);

my $url = $ENV{FACE_URL};
my $http = HTTP::Tiny->new(timeout => 120);
my %key = ("X-API-Key" => $ENV{FACE_API_KEY});
my %known = (Apid => $ENV{FACE_APID}, Kvalue => $ENV{FACE_KVALUE});
my $picture = do { local $/; open my $file, "<:raw", $ARGV[0] or die $!; <$file> };
my $image = encode_base64($picture, "");

sub say_answer {
    my ($name, $answer) = @_;
    print "$name $answer->{status} $answer->{content}\n";
}

sub post {
    my ($name, $path, $body, %headers) = @_;
    say_answer($name, $http->post("$url$path", {content => $body, headers => \%headers}));
}

say_answer("a", $http->post_form("$url/api/detection", {%known, Fimg => $image}));
my $form = $http->www_form_urlencode(\%known);
say_answer("a-get", $http->request("GET", "$url/api/face", {
    content => $form, headers => {"Content-Type" => "application/x-www-form-urlencoded"}}));

# HTTP::Tiny names any other body application/octet-stream.
post("b", "/api/faces", qq({"image":"$image"}), %key);

my $parts = "";
for my $field (["api_id", $ENV{FACE_API_ID}], ["api_secret", $ENV{FACE_API_SECRET}]) {
    $parts .= qq(--perl\r\nContent-Disposition: form-data; name="$field->[0]"\r\n\r\n$field->[1]\r\n);
}
for my $name ("image_one_file", "image_two_file") {
    $parts .= qq(--perl\r\nContent-Disposition: form-data; name="$name"; filename="a.jpg"\r\n\r\n$picture\r\n);
}
post("c", "/identity/compare_faces_in_two_images", "$parts--perl--\r\n",
    "Content-Type" => "multipart/form-data; boundary=perl");

# encode_base64 breaks lines after 76 letters.
say_answer("d", $http->post_form(
    "$url/v1/searchface", {img => encode_base64($picture)}, {headers => \%key}));

my $now = time;
my $data = qq({"image":"$image"});
my $signed = "appId=$ENV{FACE_APP_ID}&data=$data&encType=plain&signType=SHA256&timestamp=$now&version=1&key=$ENV{FACE_APP_SECRET}";
my $signature = encode_base64(sha256_hex($signed), "");
post("e", "/face2/locate", qq({"appId":"$ENV{FACE_APP_ID}","data":$data,"encType":"plain",)
    . qq("signType":"SHA256","timestamp":$now,"version":"1","signData":"$signature"}));
