package deploy_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
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
	case "v1 Service":
		object = &corev1.Service{}
	case "apps/v1 Deployment":
		object = &appsv1.Deployment{}
	case "policy/v1 PodDisruptionBudget":
		object = &policyv1.PodDisruptionBudget{}
	case "autoscaling/v2 HorizontalPodAutoscaler":
		object = &autoscalingv2.HorizontalPodAutoscaler{}
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

// built is what kubectl apply -k of a folder sends, by kind, and by kind and name.
func built(t *testing.T, folder string) map[string]any {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
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
		objects[r.GetKind()], objects[r.GetKind()+" "+r.GetName()] = object, object
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
	objects := built(t, "kubernetes")
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

	checkPod(t, objects["Namespace"].(*corev1.Namespace), &job.Template)

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

// checkPod applies the rules by which a cluster admits a pod to a namespace that enforces the level restricted.
func checkPod(t *testing.T, namespace *corev1.Namespace, pod *corev1.PodTemplateSpec) {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := api.LevelVersion{Level: api.Level(namespace.Labels[api.EnforceLevelLabel]), Version: api.LatestVersion()}
	if level.Level != api.LevelRestricted {
		t.Errorf("the namespace enforces %q", level.Level)
	}
	result := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec))
	if !result.Allowed {
		t.Errorf("a cluster would not admit the pod: %s", result.ForbiddenDetail())
	}
	if s := pod.Spec.Containers[0].SecurityContext; s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
		t.Error("the root file system can be written to")
	}
}

// TestKubernetesServe looks at the service's objects, and starts it as its pod would.
func TestKubernetesServe(t *testing.T) {
	t.Parallel()
	const folder = "kubernetes/serve"
	objects := built(t, folder)
	if objects["Secret"] != nil {
		t.Error("the example's placeholders are applied")
	}
	once := built(t, "kubernetes")
	for name := range once {
		if strings.Contains(name, " ") && objects[name] != nil && !strings.HasPrefix(name, "Namespace ") {
			t.Errorf("%s is that of the CronJob, too", name)
		}
	}
	deployment := objects["Deployment"].(*appsv1.Deployment)
	if *deployment.Spec.Replicas != 1 || deployment.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		t.Errorf("%d pods, %s: two processes would have one state", *deployment.Spec.Replicas, deployment.Spec.Strategy.Type)
	}
	template := &deployment.Spec.Template
	pod, box := template.Spec, container{t.TempDir()}
	c := pod.Containers[0]
	checkPod(t, objects["Namespace"].(*corev1.Namespace), template)
	checkArguments(t, "args", c.Args)
	if image := once["CronJob"].(*batchv1.CronJob).Spec.JobTemplate.Spec.Template.Spec.Containers[0].Image; c.Image != image {
		t.Errorf("it runs %s, the CronJob %s", c.Image, image)
	}
	if *pod.EnableServiceLinks || *pod.AutomountServiceAccountToken {
		t.Error("it is given what it has no use for")
	}

	// All that selects the pods does, and the Service and the policy let its port through.
	service, network := objects["Service"].(*corev1.Service), objects["NetworkPolicy"].(*networkingv1.NetworkPolicy)
	for what, selector := range map[string]map[string]string{
		"Deployment": deployment.Spec.Selector.MatchLabels, "Service": service.Spec.Selector, "NetworkPolicy": network.Spec.PodSelector.MatchLabels,
	} {
		if !maps.Equal(selector, template.Labels) {
			t.Errorf("the %s selects %v, and the pods are %v", what, selector, template.Labels)
		}
	}
	settings := serverSettings(t, folder+"/service.yaml")
	checkStop(t, folder+"/service.yaml", settings, time.Duration(*pod.TerminationGracePeriodSeconds)*time.Second)
	port := c.Ports[0]
	if settings.Listen != fmt.Sprintf("0.0.0.0:%d", port.ContainerPort) {
		t.Errorf("it listens at %s, and its port is %d", settings.Listen, port.ContainerPort)
	}
	if p := service.Spec.Ports[0]; p.TargetPort.StrVal != port.Name || p.Port != port.ContainerPort {
		t.Errorf("the Service's port is %v", p)
	}
	if p := network.Spec.Ingress[0].Ports[0]; p.Port.IntVal != port.ContainerPort {
		t.Errorf("the NetworkPolicy lets %v in", p)
	}
	for path, probe := range map[string]*corev1.Probe{"/healthz": c.StartupProbe, "/healthz ": c.LivenessProbe, "/readyz": c.ReadinessProbe} {
		if get := probe.HTTPGet; get == nil || get.Path != strings.TrimSpace(path) || get.Scheme != corev1.URISchemeHTTPS || get.Port.StrVal != port.Name {
			t.Errorf("a probe asks %v, not %s", get, path)
		}
	}
	if most := c.Resources.Limits.Memory().Value(); settings.Limits.Memory == 0 || settings.Limits.Memory*3/2+(128<<20) > most {
		t.Errorf("server.limits.memory is %d, and the pod has %d", settings.Limits.Memory, most)
	}

	// The Secrets, of which the one of a TLS certificate has the names that cert-manager gives.
	secrets := map[string]*corev1.Secret{}
	for text := range strings.SplitSeq(read(t, folder+"/secret.example.yaml")+"\n---\n"+read(t, "kubernetes/secret.example.yaml"), "\n---\n") {
		o, err := decode([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		secrets[o.(*corev1.Secret).Name] = o.(*corev1.Secret)
	}
	var environ, names []string
	for _, from := range c.EnvFrom {
		secret := secrets[from.SecretRef.Name]
		if secret == nil {
			t.Fatalf("there is no example of the Secret %s", from.SecretRef.Name)
		}
		for name, value := range secret.StringData {
			switch {
			case strings.HasSuffix(name, "_HASH"):
				value = hash
			case strings.HasSuffix(name, "_TOKEN"):
				value = name + "-0123456789"
			case strings.HasSuffix(name, "_URI"):
				value = "mongodb://127.0.0.1:1"
			case strings.HasSuffix(name, "_URL"):
				value = "https://127.0.0.1:1"
			}
			environ, names = append(environ, name+"="+value), append(names, name)
		}
	}
	used := slices.Concat(inConfig(t, folder+"/service.yaml"), inConfig(t, folder+"/jobs/backfill.yaml"))
	slices.Sort(used)
	slices.Sort(names)
	if !slices.Equal(used, names) {
		t.Errorf("the Secrets have %v, and the files use %v", names, used)
	}
	validate(t, folder+"/jobs/backfill.yaml", environ)

	// What is mounted as it lies in the container: a ConfigMap's files are links to links.
	mounts := map[string]string{}
	for _, m := range c.VolumeMounts {
		mounts[m.Name] = m.MountPath
		if m.SubPath != "" {
			t.Errorf("%s would never be renewed", m.MountPath)
		}
	}
	for _, v := range pod.Volumes {
		at := mounts[v.Name]
		switch {
		case v.ConfigMap != nil:
			held := objects["ConfigMap "+v.ConfigMap.Name].(*corev1.ConfigMap)
			for name, text := range held.Data {
				box.put(t, at+"/..2026_11_28/"+name, text)
				link(t, filepath.Join("..data", name), box.path(at+"/"+name))
			}
			link(t, "..2026_11_28", box.path(at+"/..data"))
		case v.Secret != nil:
			if s := secrets[v.Secret.SecretName]; s == nil || s.Type != corev1.SecretTypeTLS || at+"/"+corev1.TLSCertKey != settings.TLS.CertFile ||
				at+"/"+corev1.TLSPrivateKeyKey != settings.TLS.KeyFile {
				t.Errorf("the certificate is not that of the Secret %s", v.Secret.SecretName)
			}
		case v.PersistentVolumeClaim != nil:
			if objects["PersistentVolumeClaim "+v.PersistentVolumeClaim.ClaimName] == nil || c.Env[0].Name != "SYNCD_SERVER__STATE_DIR" || c.Env[0].Value != at {
				t.Errorf("the state is not kept in %s", v.PersistentVolumeClaim.ClaimName)
			}
		}
	}
	box.certificate(t, settings.TLS.CertFile, settings.TLS.KeyFile)
	environ = append(environ, c.Env[0].Name+"="+c.Env[0].Value, "SYNCD_RUN__STATE_DIR="+c.Env[0].Value) // the image sets the other
	jobs := box.serves(t, environ, settings.TLS.CertFile, []string{"SYNCD_SERVER_TOKEN=PROMETHEUS_TOKEN-0123456789"}, c.Args)
	if !regexp.MustCompile(`backfill +waiting`).MatchString(jobs) {
		t.Errorf("there is no job backfill:\n%s", jobs)
	}
}

func link(t *testing.T, to, name string) {
	t.Helper()
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
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
