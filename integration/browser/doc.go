// Package browser tests the page of a service in Chromium, which people use: what they do, by keyboard alone, without a script, in light
// and dark, on a phone and on a wall.
//
//	make browser                          # needs chromium, as Debian's package of that name
//	SYNCD_SCREENSHOTS=DIR make browser    # and keeps a picture of every page
//
// axe-core, which finds what keeps people from using a page, is downloaded once, of the version and with the digest that stand in
// axe_test.go. Where the registry can't be reached, that one test is left out and says so.
package browser
