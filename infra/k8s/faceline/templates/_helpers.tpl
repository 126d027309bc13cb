{{/* The name of everything that the release has. */}}
{{- define "faceline.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{/* Labels that select all pods of the release, init and tests included. */}}
{{- define "faceline.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "faceline.labels" -}}
{{ include "faceline.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "faceline.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Environment of a process. Takes root, secret, masterKey, noStores, settings. */}}
{{- define "faceline.env" -}}
- name: FACELINE_DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ .secret }}, key: FACELINE_DATABASE_URL}}
{{- if not .noStores }}
- name: FACELINE_BROKER_URL
  valueFrom: {secretKeyRef: {name: {{ .secret }}, key: FACELINE_BROKER_URL}}
{{- range $name := list "FACELINE_REDIS_URL" "FACELINE_MEDIA_ACCESS_KEY" "FACELINE_MEDIA_SECRET_KEY" "FACELINE_MEDIA_SESSION_TOKEN" }}
- name: {{ $name }}
  valueFrom: {secretKeyRef: {name: {{ $.secret }}, key: {{ $name }}, optional: true}}
{{- end }}
{{- end }}
{{- if .masterKey }}
- name: FACELINE_MASTER_KEY
  valueFrom: {secretKeyRef: {name: {{ .secret }}, key: FACELINE_MASTER_KEY}}
- name: FACELINE_MASTER_KEYS_OLD
  valueFrom: {secretKeyRef: {name: {{ .secret }}, key: FACELINE_MASTER_KEYS_OLD, optional: true}}
{{- end }}
{{- if eq (.component | default "") "shim" }}
- name: FACELINE_OIDC_CLIENT_SECRET
  valueFrom: {secretKeyRef: {name: {{ .secret }}, key: FACELINE_OIDC_CLIENT_SECRET, optional: true}}
{{- end }}
{{- range $name, $value := merge (dict) (.settings | default dict) .root.Values.settings }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}

{{/* What every pod has beside its containers. Takes root and role, the values of its part. */}}
{{- define "faceline.podSpec" -}}
serviceAccountName: {{ .root.Values.serviceAccountName | default "default" }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .role.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .role.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .role.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: 1Gi}
  - name: data
    emptyDir: {sizeLimit: 64Mi}
{{- if and .root.Values.models (not .noModels) }}
  - name: models
    {{- toYaml .root.Values.models | nindent 4 }}
{{- end }}
{{- with .root.Values.calibrationConfigMap }}
  - name: calibration
    configMap: {name: {{ . }}}
{{- end }}
{{- end }}

{{/* What every container has beside its command, environment and probes. */}}
{{- define "faceline.container" -}}
image: {{ include "faceline.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  privileged: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
resources: {{- toYaml .role.resources | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: data, mountPath: /data}
{{- if and .root.Values.models (not .noModels) }}
  - {name: models, mountPath: /models, readOnly: true}
{{- end }}
{{- if .root.Values.calibrationConfigMap }}
  - {name: calibration, mountPath: /data/calibration, readOnly: true}
{{- end }}
{{- end }}

{{/* A role's Deployment and PodDisruptionBudget. Takes root, component, role (its values), args,
     settings, secret, masterKey, noModels, noStores, internet, scaled, strategy, ports, probes, graceSeconds. */}}
{{- define "faceline.deployment" -}}
{{- $name := printf "%s-%s" (include "faceline.name" .root) .component -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}
  labels:
    {{- include "faceline.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  {{- if not .scaled }}
  replicas: {{ .role.replicas }}
  {{- end }}
  revisionHistoryLimit: 3
  strategy:
    rollingUpdate: {{- toYaml .strategy | nindent 6 }}
  selector:
    matchLabels:
      {{- include "faceline.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  template:
    metadata:
      labels:
        {{- include "faceline.labels" .root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
        faceline/internet: {{ or .internet .role.internet | default false | quote }}
        faceline/stores: {{ not .noStores | quote }}
    spec:
      {{- include "faceline.podSpec" . | nindent 6 }}
      terminationGracePeriodSeconds: {{ .graceSeconds }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "faceline.selector" .root | nindent 14 }}
              app.kubernetes.io/component: {{ .component }}
      containers:
        - name: {{ .component }}
          {{- include "faceline.container" . | nindent 10 }}
          args: {{- toYaml .args | nindent 12 }}
          env:
            {{- include "faceline.env" . | trim | nindent 12 }}
          {{- if .root.Values.metrics.enabled }}
            - {name: FACELINE_METRICS_HOST, value: "0.0.0.0"}
            - {name: FACELINE_METRICS_PORT, value: {{ .root.Values.metrics.port | quote }}}
          {{- end }}
          {{- $ports := .ports | default list }}
          {{- if .root.Values.metrics.enabled }}
          {{- $ports = append $ports (dict "name" "metrics" "containerPort" .root.Values.metrics.port) }}
          {{- end }}
          {{- with $ports }}
          ports: {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- toYaml .probes | nindent 10 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $name }}
  labels: {{- include "faceline.labels" .root | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "faceline.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* The jobs that wait or run at the given stages; none are all those that a worker serves by
     default. A job in a pause waits for a time, not for a worker. */}}
{{- define "faceline.waitingJobs" -}}
{{- $stages := . | default (list "decode" "detect" "embed" "liveness") -}}
SELECT count(*) FROM jobs WHERE state IN ('queued', 'running') AND stage IN ('{{ join "', '" $stages }}') AND not_before <= extract(epoch FROM now())
{{- end }}

{{/* Probes of a process without a web side, which are commands and therefore rare. The argument
     names the process: worker, index, upkeep, webhooks. */}}
{{- define "faceline.probes" -}}
startupProbe:
  exec: {command: [faceline, probe, {{ . }}]}
  periodSeconds: 5
  timeoutSeconds: 15
  failureThreshold: 60
livenessProbe:
  exec: {command: [faceline, probe, {{ . }}]}
  periodSeconds: 30
  timeoutSeconds: 15
  failureThreshold: 4
readinessProbe:
  exec: {command: [faceline, probe, {{ . }}, --ready]}
  periodSeconds: 30
  timeoutSeconds: 15
  failureThreshold: 2
{{- end }}
