package deploy_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

// TestKubernetesCluster looks at the objects of pods that share a job.
func TestKubernetesCluster(t *testing.T) {
	t.Parallel()
	const folder = "kubernetes/cluster"
	objects, once := built(t, folder), built(t, "kubernetes")
	for name := range once {
		if objects[name] != nil && name != "Namespace" && name != "Namespace syncd" && name != "ConfigMap" && name != "NetworkPolicy" {
			t.Errorf("%s is that of the CronJob, too", name)
		}
	}
	deployment := objects["Deployment"].(*appsv1.Deployment)
	template := &deployment.Spec.Template
	pod, c := template.Spec, template.Spec.Containers[0]
	checkPod(t, objects["Namespace"].(*corev1.Namespace), template)
	checkArguments(t, "args", c.Args)
	budget := objects["PodDisruptionBudget"].(*policyv1.PodDisruptionBudget)
	network := objects["NetworkPolicy"].(*networkingv1.NetworkPolicy)
	for what, selector := range map[string]map[string]string{
		"Deployment": deployment.Spec.Selector.MatchLabels, "PodDisruptionBudget": budget.Spec.Selector.MatchLabels, "NetworkPolicy": network.Spec.PodSelector.MatchLabels,
		"spread": pod.TopologySpreadConstraints[0].LabelSelector.MatchLabels,
	} {
		if !maps.Equal(selector, template.Labels) {
			t.Errorf("the %s selects %v, and the pods are %v", what, selector, template.Labels)
		}
	}
	if budget.Spec.MaxUnavailable.IntValue() != 1 {
		t.Errorf("%v pods may go at once", budget.Spec.MaxUnavailable)
	}

	// What the pods are told fits what Kubernetes does with them.
	config := objects["ConfigMap"].(*corev1.ConfigMap)
	text := config.Data["config.yaml"]
	var said struct {
		Cluster struct {
			Group        string `json:"group"`
			Partitions   int32  `json:"partitions"`
			LeaveTimeout string `json:"leave_timeout"`
		} `json:"cluster"`
	}
	if err := yaml.Unmarshal([]byte(text), &said); err != nil {
		t.Fatal(err)
	}
	leave, err := time.ParseDuration(said.Cluster.LeaveTimeout)
	if grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second; err != nil || grace < 2*leave+10*time.Second {
		t.Errorf("a pod that is to end has %s, and takes %s to leave: %v", grace, leave, err)
	}
	scaler := objects["HorizontalPodAutoscaler"].(*autoscalingv2.HorizontalPodAutoscaler)
	if said.Cluster.Group == "" || said.Cluster.Partitions < 4*scaler.Spec.MaxReplicas {
		t.Errorf("%d partitions for up to %d pods", said.Cluster.Partitions, scaler.Spec.MaxReplicas)
	}
	if to := scaler.Spec.ScaleTargetRef; to.Kind != "Deployment" || to.Name != deployment.Name || *scaler.Spec.MinReplicas != *deployment.Spec.Replicas || *scaler.Spec.MinReplicas < 2 {
		t.Errorf("the HorizontalPodAutoscaler scales %+v, from %d", to, *scaler.Spec.MinReplicas)
	}
	if c.Resources.Requests.Cpu().IsZero() {
		t.Error("a share of the CPU is asked for, and none requested")
	}

	// Probes, mounts and variables, as for one process.
	for name, probe := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != "/healthz" || probe.HTTPGet.Port.StrVal != c.Ports[0].Name {
			t.Errorf("the %s probe does not ask /healthz at the port", name)
		}
	}
	if want := fmt.Sprintf("0.0.0.0:%d", c.Ports[0].ContainerPort); c.Args[4] != want || network.Spec.Ingress[0].Ports[0].Port.IntVal != c.Ports[0].ContainerPort {
		t.Errorf("it listens at %s, and the port is %s", c.Args[4], want)
	}
	for _, v := range pod.Volumes {
		if v.ConfigMap != nil && v.ConfigMap.Name != config.Name {
			t.Errorf("the configuration is that of %s", v.ConfigMap.Name)
		}
		if v.PersistentVolumeClaim != nil {
			t.Error("nothing that a cluster needs is on a disk")
		}
	}
	secret := object[corev1.Secret](t, "secret.example.yaml")
	if ref := c.EnvFrom[0].SecretRef; ref == nil || ref.Name != secret.Name {
		t.Error("the variables are not those of the Secret")
	}
	var environ []string
	for name, value := range secret.StringData {
		environ = append(environ, name+"="+value)
	}
	validate(t, folder+"/config.yaml", environ)
	validate(t, "../configs/cluster.yaml", environ)
}
