// Package syncdtest helps to test plugins, and to test with them: conformance suites for each kind of plugin, plugins that
// work in memory, and wrappers that make any plugin fail on schedule.
//
// A plugin's whole conformance test is one call:
//
//	func TestConformance(t *testing.T) {
//		syncdtest.TestSource(t, syncdtest.SourceHarness{Open: open, Delete: remove})
//	}
//
// The suites take the comments of package syncd at their word and attack the seams: the batch that is exactly full, the
// context that ends between two batches, the buffer that is used again after the call.
//
// Invariants:
//   - a suite depends on no clock: it never sleeps, and its only time limits are those that end a plugin that hangs;
//   - every case opens its own plugin and closes it, so cases run alone (-run) and in any order;
//   - what a suite does not test is named, with its reason: an exception is a skipped case, never a missing one;
//   - the plugins in memory pass the suites, and a plugin broken on purpose fails them (this package's tests are the proof);
//   - a wrapper has every ability of what it wraps, and no others.
//
// A suite looks for goroutines left behind, so it must not run beside parallel tests of the same package.
package syncdtest
