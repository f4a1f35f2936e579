package deploy_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// decode reads an object strictly: a field that Kubernetes does not have is an error.
func decode(text []byte) (any, error) {
	var meta metav1.TypeMeta
	if err := yaml.Unmarshal(text, &meta); err != nil {
		return nil, err
	}
	var object any
	switch meta.APIVersion + " " + meta.Kind {
	case "v1 Namespace":
		object = &corev1.Namespace{}
	case "v1 ConfigMap":
		object = &corev1.ConfigMap{}
	case "v1 Secret":
		object = &corev1.Secret{}
	case "v1 PersistentVolumeClaim":
		object = &corev1.PersistentVolumeClaim{}
	case "batch/v1 Job":
		object = &batchv1.Job{}
	case "batch/v1 CronJob":
		object = &batchv1.CronJob{}
	case "networking.k8s.io/v1 NetworkPolicy":
		object = &networkingv1.NetworkPolicy{}
	default:
		return nil, fmt.Errorf("unknown kind %s %s", meta.APIVersion, meta.Kind)
	}
	return object, yaml.UnmarshalStrict(text, object)
}

// built is what kubectl apply -k sends, by kind.
func built(t *testing.T) map[string]any {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	objects := map[string]any{}
	for _, r := range resources.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		object, err := decode(text)
		if err != nil {
			t.Fatalf("%s: %v", r.CurId(), err)
		}
		if r.GetKind() != "Namespace" && r.GetNamespace() != "syncd" {
			t.Errorf("%s is in namespace %q", r.CurId(), r.GetNamespace())
		}
		objects[r.GetKind()] = object
	}
	return objects
}

func object[T any](t *testing.T, file string) *T {
	t.Helper()
	o, err := decode([]byte(read(t, filepath.Join("kubernetes", file))))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	typed, ok := o.(*T)
	if !ok {
		t.Fatalf("%s is a %T", file, o)
	}
	return typed
}

func TestKubernetes(t *testing.T) {
	t.Parallel()
	objects := built(t)
	for _, kind := range []string{"Namespace", "ConfigMap", "PersistentVolumeClaim", "CronJob", "NetworkPolicy"} {
		if objects[kind] == nil {
			t.Fatalf("kustomization.yaml makes no %s", kind)
		}
	}
	if objects["Secret"] != nil {
		t.Error("the example's placeholders are applied")
	}
	cron := objects["CronJob"].(*batchv1.CronJob)
	if cron.Spec.ConcurrencyPolicy != batchv1.ForbidConcurrent {
		t.Errorf("concurrencyPolicy: %s", cron.Spec.ConcurrencyPolicy)
	}
	job := object[batchv1.Job](t, "job.yaml")
	image := cron.Spec.JobTemplate.Spec.Template.Spec.Containers[0].Image
	if got := job.Spec.Template.Spec.Containers[0].Image; got != image {
		t.Errorf("the Job runs %s, the CronJob %s", got, image)
	}
	t.Run("cronjob", func(t *testing.T) { t.Parallel(); checkJob(t, objects, &cron.Spec.JobTemplate.Spec) })
	t.Run("job", func(t *testing.T) { t.Parallel(); checkJob(t, objects, &job.Spec) })

	labels := cron.Spec.JobTemplate.Spec.Template.Labels
	for key, value := range objects["NetworkPolicy"].(*networkingv1.NetworkPolicy).Spec.PodSelector.MatchLabels {
		if labels[key] != value {
			t.Errorf("the NetworkPolicy does not hold for the pods: %s=%s", key, value)
		}
	}

	secret := object[corev1.Secret](t, "secret.example.yaml")
	config := filepath.Join("kubernetes", "config.yaml")
	if got := objects["ConfigMap"].(*corev1.ConfigMap).Data["config.yaml"]; got != read(t, config) {
		t.Error("the ConfigMap does not hold config.yaml")
	}
	checkVariables(t, "secret.example.yaml", config, slices.Collect(maps.Keys(secret.StringData)))
	var environ []string
	for name, value := range secret.StringData {
		environ = append(environ, name+"="+value)
	}
	validate(t, config, environ)
}

func checkJob(t *testing.T, objects map[string]any, job *batchv1.JobSpec) {
	t.Helper()
	pod := job.Template.Spec
	container := pod.Containers[0]
	if pod.RestartPolicy != corev1.RestartPolicyNever {
		t.Errorf("restartPolicy: %s: the exit codes would not be looked at", pod.RestartPolicy)
	}
	checkArguments(t, "args", container.Args)

	var final []int32
	for _, rule := range job.PodFailurePolicy.Rules {
		codes := rule.OnExitCodes
		if codes == nil {
			continue
		}
		if rule.Action != batchv1.PodFailurePolicyActionFailJob || codes.Operator != batchv1.PodFailurePolicyOnExitCodesOpIn {
			t.Errorf("exit codes: %s if %s %v", rule.Action, codes.Operator, codes.Values)
		}
		if codes.ContainerName == nil || *codes.ContainerName != container.Name {
			t.Error("the exit codes are those of no container")
		}
		final = codes.Values
	}
	if !slices.Equal(final, []int32{2, 3, 4, 5}) {
		t.Errorf("not retried are %v", final)
	}

	// The rules by which a cluster admits a pod to a namespace that enforces the level restricted.
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	namespace := objects["Namespace"].(*corev1.Namespace)
	level := api.LevelVersion{Level: api.Level(namespace.Labels[api.EnforceLevelLabel]), Version: api.LatestVersion()}
	if level.Level != api.LevelRestricted {
		t.Errorf("the namespace enforces %q", level.Level)
	}
	result := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &job.Template.ObjectMeta, &pod))
	if !result.Allowed {
		t.Errorf("a cluster would not admit the pod: %s", result.ForbiddenDetail())
	}
	if s := container.SecurityContext; s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
		t.Error("the root file system can be written to")
	}

	// A probe asks the port at which the arguments have it listen, from outside the container.
	listen := ""
	if i := slices.Index(container.Args, "--http"); i >= 0 {
		listen = container.Args[i+1]
	}
	for name, probe := range map[string]*corev1.Probe{"startup": container.StartupProbe, "liveness": container.LivenessProbe} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != "/healthz" || probe.HTTPGet.Port.StrVal != container.Ports[0].Name {
			t.Errorf("the %s probe does not ask /healthz at the port", name)
		}
	}
	if want := fmt.Sprintf("0.0.0.0:%d", container.Ports[0].ContainerPort); listen != want {
		t.Errorf("it listens at %q, and the probes ask %s", listen, want)
	}

	// What is mounted exists, and is where the arguments and the image look for it.
	mounts := map[string]string{}
	for _, m := range container.VolumeMounts {
		mounts[m.MountPath] = m.Name
	}
	for _, v := range pod.Volumes {
		switch {
		case v.ConfigMap != nil && (v.ConfigMap.Name != objects["ConfigMap"].(*corev1.ConfigMap).Name || mounts["/etc/syncd"] != v.Name):
			t.Errorf("the configuration is not mounted: %v", v)
		case v.PersistentVolumeClaim != nil && (v.PersistentVolumeClaim.ClaimName != objects["PersistentVolumeClaim"].(*corev1.PersistentVolumeClaim).Name ||
			mounts["/var/lib/syncd"] != v.Name):
			t.Errorf("the state is not mounted: %v", v)
		}
	}
	if ref := container.EnvFrom[0].SecretRef; ref == nil || ref.Name != object[corev1.Secret](t, "secret.example.yaml").Name {
		t.Error("the variables are not those of the Secret")
	}
}

func TestKubernetesIsChecked(t *testing.T) {
	t.Parallel()
	text := read(t, filepath.Join("kubernetes", "cronjob.yaml"))
	for _, change := range [][2]string{
		{"concurrencyPolicy:", "concurencyPolicy:"}, {"backoffLimit: 3", "backoffLimit: three"}, {"drop: [ALL]", "dropp: [ALL]"},
		{"kind: CronJob", "kind: CornJob"},
	} {
		if !strings.Contains(text, change[0]) {
			t.Fatalf("cronjob.yaml has no %q", change[0])
		}
		if _, err := decode([]byte(strings.Replace(text, change[0], change[1], 1))); err == nil {
			t.Errorf("%q passes", change[1])
		}
	}
}
