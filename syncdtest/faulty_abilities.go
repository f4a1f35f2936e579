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
	canIdentify
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
	identifier, ok := f.Source.(syncd.Identifier)
	if ok {
		has |= canIdentify
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
	case canIdentify:
		return struct {
			*faultySource
			syncd.Identifier
		}{f, identifier}
	case canCount | canIdentify:
		return struct {
			*faultySource
			*faultyCounter
			syncd.Identifier
		}{f, fc, identifier}
	case canEstimate | canIdentify:
		return struct {
			*faultySource
			syncd.Estimator
			syncd.Identifier
		}{f, estimator, identifier}
	case canCount | canEstimate | canIdentify:
		return struct {
			*faultySource
			*faultyCounter
			syncd.Estimator
			syncd.Identifier
		}{f, fc, estimator, identifier}
	case canListCollections | canIdentify:
		return struct {
			*faultySource
			syncd.CollectionLister
			syncd.Identifier
		}{f, lister, identifier}
	case canCount | canListCollections | canIdentify:
		return struct {
			*faultySource
			*faultyCounter
			syncd.CollectionLister
			syncd.Identifier
		}{f, fc, lister, identifier}
	case canEstimate | canListCollections | canIdentify:
		return struct {
			*faultySource
			syncd.Estimator
			syncd.CollectionLister
			syncd.Identifier
		}{f, estimator, lister, identifier}
	case canCount | canEstimate | canListCollections | canIdentify:
		return struct {
			*faultySource
			*faultyCounter
			syncd.Estimator
			syncd.CollectionLister
			syncd.Identifier
		}{f, fc, estimator, lister, identifier}
	case canFind | canIdentify:
		return struct {
			*faultySource
			*faultyFinder
			syncd.Identifier
		}{f, ff, identifier}
	case canCount | canFind | canIdentify:
		return struct {
			*faultySource
			*faultyCounter
			*faultyFinder
			syncd.Identifier
		}{f, fc, ff, identifier}
	case canEstimate | canFind | canIdentify:
		return struct {
			*faultySource
			syncd.Estimator
			*faultyFinder
			syncd.Identifier
		}{f, estimator, ff, identifier}
	case canCount | canEstimate | canFind | canIdentify:
		return struct {
			*faultySource
			*faultyCounter
			syncd.Estimator
			*faultyFinder
			syncd.Identifier
		}{f, fc, estimator, ff, identifier}
	case canListCollections | canFind | canIdentify:
		return struct {
			*faultySource
			syncd.CollectionLister
			*faultyFinder
			syncd.Identifier
		}{f, lister, ff, identifier}
	case canCount | canListCollections | canFind | canIdentify:
		return struct {
			*faultySource
			*faultyCounter
			syncd.CollectionLister
			*faultyFinder
			syncd.Identifier
		}{f, fc, lister, ff, identifier}
	case canEstimate | canListCollections | canFind | canIdentify:
		return struct {
			*faultySource
			syncd.Estimator
			syncd.CollectionLister
			*faultyFinder
			syncd.Identifier
		}{f, estimator, lister, ff, identifier}
	case canCount | canEstimate | canListCollections | canFind | canIdentify:
		return struct {
			*faultySource
			*faultyCounter
			syncd.Estimator
			syncd.CollectionLister
			*faultyFinder
			syncd.Identifier
		}{f, fc, estimator, lister, ff, identifier}
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

const (
	canPrepare = 1 << iota
	canRoute
	canCommit
)

func (f *faultySink) withAbilities(faults SinkFaults) syncd.Sink {
	has := 0
	preparer, ok := f.Sink.(syncd.Preparer)
	if ok {
		has |= canPrepare
	}
	router, ok := f.Sink.(syncd.Router)
	if ok {
		has |= canRoute
	}
	committer, ok := f.Sink.(syncd.Committer)
	if ok {
		has |= canCommit
	}
	fp, fc := &faultyPreparer{Preparer: preparer}, &faultyCommitter{committer: committer}
	fp.prepare.schedule, fc.marks.schedule, fc.commit.schedule = faults.Prepare, faults.Marks, faults.Commit
	switch has {
	case canPrepare:
		return struct {
			*faultySink
			*faultyPreparer
		}{f, fp}
	case canRoute:
		return struct {
			*faultySink
			syncd.Router
		}{f, router}
	case canPrepare | canRoute:
		return struct {
			*faultySink
			*faultyPreparer
			syncd.Router
		}{f, fp, router}
	case canCommit:
		return struct {
			*faultySink
			*faultyCommitter
		}{f, fc}
	case canPrepare | canCommit:
		return struct {
			*faultySink
			*faultyPreparer
			*faultyCommitter
		}{f, fp, fc}
	case canRoute | canCommit:
		return struct {
			*faultySink
			syncd.Router
			*faultyCommitter
		}{f, router, fc}
	case canPrepare | canRoute | canCommit:
		return struct {
			*faultySink
			*faultyPreparer
			syncd.Router
			*faultyCommitter
		}{f, fp, router, fc}
	}
	return f
}
