module example.com/acme/syncd

go 1.26.0

require github.com/syncd-io/syncd v0.0.0

replace github.com/syncd-io/syncd => ../..
