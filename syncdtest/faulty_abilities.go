package syncdtest

import (
	"context"
	"iter"

	"github.com/syncd-io/syncd"
)

// A wrapper must have the optional interfaces of what it wraps, and no others: whoever uses a plugin asks by type. A Go
// type has its methods or it hasn't, so there is a type for every combination.

const (
	canCount = 1 << iota
	canEstimate
	canListCollections
	canFind
)

func (f *faultySource) withAbilities(faults SourceFaults) syncd.Source {
	has := 0
	counter, ok := f.Source.(syncd.Counter)
	if ok {
		has |= canCount
	}
	estimator, ok := f.Source.(syncd.Estimator)
	if ok {
		has |= canEstimate
	}
	lister, ok := f.Source.(syncd.CollectionLister)
	if ok {
		has |= canListCollections
	}
	finder, ok := f.Source.(syncd.Finder)
	if ok {
		has |= canFind
	}
	fc, ff := &faultyCounter{Counter: counter}, &faultyFinder{Finder: finder}
	fc.count.schedule, ff.find.schedule = faults.Count, faults.Find
	switch has {
	case canCount:
		return struct {
			*faultySource
			*faultyCounter
		}{f, fc}
	case canEstimate:
		return struct {
			*faultySource
			syncd.Estimator
		}{f, estimator}
	case canCount | canEstimate:
		return struct {
			*faultySource
			*faultyCounter
			syncd.Estimator
		}{f, fc, estimator}
	case canListCollections:
		return struct {
			*faultySource
			syncd.CollectionLister
		}{f, lister}
	case canCount | canListCollections:
		return struct {
			*faultySource
			*faultyCounter
			syncd.CollectionLister
		}{f, fc, lister}
	case canEstimate | canListCollections:
		return struct {
			*faultySource
			syncd.Estimator
			syncd.CollectionLister
		}{f, estimator, lister}
	case canCount | canEstimate | canListCollections:
		return struct {
			*faultySource
			*faultyCounter
			syncd.Estimator
			syncd.CollectionLister
		}{f, fc, estimator, lister}
	case canFind:
		return struct {
			*faultySource
			*faultyFinder
		}{f, ff}
	case canCount | canFind:
		return struct {
			*faultySource
			*faultyCounter
			*faultyFinder
		}{f, fc, ff}
	case canEstimate | canFind:
		return struct {
			*faultySource
			syncd.Estimator
			*faultyFinder
		}{f, estimator, ff}
	case canCount | canEstimate | canFind:
		return struct {
			*faultySource
			*faultyCounter
			syncd.Estimator
			*faultyFinder
		}{f, fc, estimator, ff}
	case canListCollections | canFind:
		return struct {
			*faultySource
			syncd.CollectionLister
			*faultyFinder
		}{f, lister, ff}
	case canCount | canListCollections | canFind:
		return struct {
			*faultySource
			*faultyCounter
			syncd.CollectionLister
			*faultyFinder
		}{f, fc, lister, ff}
	case canEstimate | canListCollections | canFind:
		return struct {
			*faultySource
			syncd.Estimator
			syncd.CollectionLister
			*faultyFinder
		}{f, estimator, lister, ff}
	case canCount | canEstimate | canListCollections | canFind:
		return struct {
			*faultySource
			*faultyCounter
			syncd.Estimator
			syncd.CollectionLister
			*faultyFinder
		}{f, fc, estimator, lister, ff}
	}
	return f
}

type faultyCounter struct {
	syncd.Counter
	count calls
}

func (f *faultyCounter) Count(ctx context.Context, c syncd.Collection) (n int64, err error) {
	err = f.count.around(ctx, func() (err error) {
		n, err = f.Counter.Count(ctx, c)
		return err
	})
	return n, err
}

type faultyFinder struct {
	syncd.Finder
	find calls
}

func (f *faultyFinder) Find(ctx context.Context, c syncd.Collection, ids []string) (keys []syncd.Key, err error) {
	err = f.find.around(ctx, func() (err error) {
		keys, err = f.Finder.Find(ctx, c, ids)
		return err
	})
	if err != nil {
		return nil, err
	}
	return keys, nil
}

const (
	canInspect = 1 << iota
	canRead
	canList
)

func (f *faultyChecker) withAbilities(faults CheckerFaults) syncd.Checker {
	has := 0
	inspector, ok := f.Checker.(syncd.Inspector)
	if ok {
		has |= canInspect
	}
	reader, ok := f.Checker.(syncd.PayloadReader)
	if ok {
		has |= canRead
	}
	lister, ok := f.Checker.(syncd.Lister)
	if ok {
		has |= canList
	}
	fi, fr, fl := &faultyInspector{Inspector: inspector}, &faultyReader{PayloadReader: reader}, &faultyLister{Lister: lister}
	fi.inspect.schedule, fr.read.schedule = faults.Inspect, faults.Read
	fl.list.schedule, fl.page.schedule = faults.List, faults.Page
	switch has {
	case canInspect:
		return struct {
			*faultyChecker
			*faultyInspector
		}{f, fi}
	case canRead:
		return struct {
			*faultyChecker
			*faultyReader
		}{f, fr}
	case canInspect | canRead:
		return struct {
			*faultyChecker
			*faultyInspector
			*faultyReader
		}{f, fi, fr}
	case canList:
		return struct {
			*faultyChecker
			*faultyLister
		}{f, fl}
	case canInspect | canList:
		return struct {
			*faultyChecker
			*faultyInspector
			*faultyLister
		}{f, fi, fl}
	case canRead | canList:
		return struct {
			*faultyChecker
			*faultyReader
			*faultyLister
		}{f, fr, fl}
	case canInspect | canRead | canList:
		return struct {
			*faultyChecker
			*faultyInspector
			*faultyReader
			*faultyLister
		}{f, fi, fr, fl}
	}
	return f
}

type faultyInspector struct {
	syncd.Inspector
	inspect calls
}

func (f *faultyInspector) Inspect(ctx context.Context) (index syncd.Index, err error) {
	err = f.inspect.around(ctx, func() (err error) {
		index, err = f.Inspector.Inspect(ctx)
		return err
	})
	return index, err
}

type faultyReader struct {
	syncd.PayloadReader
	read calls
}

func (f *faultyReader) Read(ctx context.Context, points []syncd.Point, keys []string, found []syncd.Found) error {
	return f.read.around(ctx, func() error { return f.PayloadReader.Read(ctx, points, keys, found) })
}

type faultyLister struct {
	syncd.Lister
	list, page calls
}

func (f *faultyLister) List(ctx context.Context, req syncd.ListRequest) iter.Seq2[[]syncd.Listed, error] {
	return aroundSeq(ctx, &f.list, aroundEach(ctx, &f.page, f.Lister.List(ctx, req)))
}
