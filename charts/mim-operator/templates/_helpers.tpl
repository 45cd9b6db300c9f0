{{/* Name of every object of this release: the release's own, with the chart's where that does not say it. */}}
{{- define "mim-operator.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "mim-operator.selector" -}}
app.kubernetes.io/name: mim-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "mim-operator.labels" -}}
{{ include "mim-operator.selector" . }}
app.kubernetes.io/part-of: mim-operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The operator's image: registry, then digest before tag. */}}
{{- define "mim-operator.image" -}}
{{- if .Values.images.registry }}{{ .Values.images.registry }}/{{ end -}}
{{- .Values.image.repository -}}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end -}}
{{- end -}}

{{/* The catalogue, as the operator reads it. */}}
{{- define "mim-operator.catalogue" -}}
{{- if not .Values.releases -}}
{{- fail "releases is empty: the operator has no image to run. Pass the catalogue that `make images` wrote: -f <images>/releases.yaml" -}}
{{- end -}}
{{- toYaml (dict "releases" .Values.releases) -}}
{{- end -}}

{{/* Namespaces with a Role, in namespaced mode. */}}
{{- define "mim-operator.namespaces" -}}
{{- .Values.watchNamespaces | default (list .Release.Namespace) | sortAlpha | join "," -}}
{{- end -}}

{{/* What the operator reads: objects of our kinds and the kinds we own. Never Secrets. */}}
{{- define "mim-operator.rules.read" -}}
- apiGroups: [mim.city]
  resources: [contextbrokers, contextsubscriptions, urbandataplatforms]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [configmaps, persistentvolumeclaims, pods, serviceaccounts, services]
  verbs: [get, list, watch]
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, watch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch]
{{- end -}}

{{/* The status of our kinds: also where the operator may write nothing else, so that it can say so. */}}
{{- define "mim-operator.rules.status" -}}
- apiGroups: [mim.city]
  resources: [contextbrokers/status, contextsubscriptions/status, urbandataplatforms/status]
  verbs: [patch]
# To take the finalizer off what keeps something outside Kubernetes: also where a RoleBinding is gone, or its namespace could never be deleted.
- apiGroups: [mim.city]
  resources: [contextsubscriptions]
  verbs: [patch]
{{- end -}}

{{/* What the operator writes in a namespace that it was let into. */}}
{{- define "mim-operator.rules.write" -}}
# A platform's components.
- apiGroups: [mim.city]
  resources: [contextbrokers]
  verbs: [create, patch, delete]
# To put the finalizer on what keeps something outside Kubernetes, before anything is made there.
- apiGroups: [mim.city]
  resources: [contextsubscriptions]
  verbs: [update]
# An owner reference that blocks deletion needs this (admission plugin OwnerReferencesPermissionEnforcement).
- apiGroups: [mim.city]
  resources: [contextbrokers/finalizers, urbandataplatforms/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [configmaps, persistentvolumeclaims, serviceaccounts, services]
  verbs: [create, patch, delete]
# A pod that proves a new template of the database, and pods that a new template replaces.
- apiGroups: [""]
  resources: [pods]
  verbs: [create, delete]
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [create, patch, delete]
# By name only: neither list nor watch, so that no Secret is seen that no spec names. Never deleted: garbage collection does that.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, update]
# Why a pod is not there, read while it is not.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}
